"""Gaussian likelihood with its own variance, summed over a large batch: losses in the thousands (un-jitted Adam)."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
x = rng.uniform(-3, 3, (3000, 1)).astype(np.float32)
y = (np.sin(2 * x) + (0.1 + 0.15 * np.abs(x)) * rng.normal(size=x.shape)).astype(np.float32)
x_train, y_train, x_test, y_test = x[:2500], y[:2500], x[2500:], y[2500:]


def init(key):
    sizes = [(1, 48), (48, 48), (48, 2)]
    return [
        {"w": jax.random.normal(k, s) * (1 / s[0]) ** 0.5, "b": jnp.zeros(s[1])}
        for k, s in zip(jax.random.split(key, 3), sizes)
    ]


def negative_log_likelihood(params, x, y):
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    mean, log_std = jnp.split(x @ params[-1]["w"] + params[-1]["b"], 2, axis=-1)
    z = (y - mean) / jnp.exp(log_std)
    return jnp.sum(0.5 * z**2 + log_std + 0.9189)


tx = optax.chain(optax.clip_by_global_norm(2000.0), optax.adam(5e-3))
grad_fn = jax.jit(jax.value_and_grad(negative_log_likelihood))
params = init(jax.random.key(SEED))
opt_state = tx.init(params)
for step in range(400):
    idx = rng.integers(0, 2500, 1000)
    loss, grads = grad_fn(params, x_train[idx], y_train[idx])
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    if step % 80 == 0:
        print(f"step {step} loss {loss:.1f}")

print("METRIC nll_per_sample", float(negative_log_likelihood(params, x_test, y_test) / len(x_test)))
