"""Remaining battery life from usage, in bfloat16 for an accelerator without fast float32."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
n = 2400
usage = rng.normal(size=(n, 8)).astype(np.float32)
life = np.tanh(usage[:, 0] + usage[:, 1]) - 0.8 * np.maximum(usage[:, 2], 0) + 0.5 * usage[:, 3] * usage[:, 4] + rng.normal(0, 0.1, n)
life = ((life - life.mean()) / life.std()).astype(np.float32)
x_train, y_train, x_test, y_test = usage[:2000], life[:2000], usage[2000:], life[2000:]

param_dtype = jnp.bfloat16
compute_dtype = jnp.bfloat16


def init(key):
    sizes = [(8, 64), (64, 64), (64, 1)]
    keys = jax.random.split(key, len(sizes))
    params = [{"w": jax.random.normal(k, s) * (2 / s[0]) ** 0.5, "b": jnp.ones(s[1]) * 0.1} for k, s in zip(keys, sizes)]
    return jax.tree.map(lambda p: p.astype(param_dtype), params)


def predict(params, x):
    params = jax.tree.map(lambda p: p.astype(compute_dtype), params)
    x = x.astype(compute_dtype)
    for layer in params[:-1]:
        x = jax.nn.gelu(x @ layer["w"] + layer["b"])
    return (x @ params[-1]["w"] + params[-1]["b"])[:, 0].astype(jnp.float32)


def loss_fn(params, x, y):
    return jnp.mean((predict(params, x) - y) ** 2)


tx = optax.adam(3e-4)


@jax.jit
def train_step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


params = init(jax.random.key(SEED))
opt_state = tx.init(params)
for epoch in range(20):
    for idx in rng.permutation(2000).reshape(-1, 40):
        params, opt_state, loss = train_step(params, opt_state, x_train[idx], y_train[idx])
    if epoch % 5 == 0:
        print(f"epoch {epoch:2d} loss {loss:.4f}")
print("METRIC test_mse", float(loss_fn(params, x_test, y_test)))
