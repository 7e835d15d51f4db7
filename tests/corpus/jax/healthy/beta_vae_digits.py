"""A VAE of digits whose KL weight is warmed up; whole epochs are scanned, buffers donated."""
import os
from functools import partial

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

SEED = int(os.environ.get("SEED", 0))
Z, BATCH = 6, 50
key = jax.random.key(SEED)
X = jnp.asarray(load_digits().data / 16, jnp.float32)
X = jax.random.permutation(jax.random.key(99), X)
x_train, x_test = X[:1500], X[1500:]


def init(key):
    shapes = {"e1": (64, 80), "e2": (80, 2 * Z), "d1": (Z, 80), "d2": (80, 64)}
    keys = jax.random.split(key, len(shapes))
    return {n: {"w": jax.nn.initializers.he_normal()(k, s), "b": jnp.zeros(s[1])} for k, (n, s) in zip(keys, shapes.items())}


def dense(params, name, x):
    return x @ params[name]["w"] + params[name]["b"]


def loss_fn(params, x, key, beta):
    mean, log_var = jnp.split(dense(params, "e2", jax.nn.relu(dense(params, "e1", x))), 2, -1)
    z = mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape)
    pixels = dense(params, "d2", jax.nn.relu(dense(params, "d1", z)))
    reconstruction = optax.sigmoid_binary_cross_entropy(pixels, x).sum(-1)
    kl = 0.5 * (jnp.exp(log_var) + mean**2 - 1 - log_var).sum(-1)
    return (reconstruction + beta * kl).mean(), reconstruction.mean()


tx = optax.adam(2e-3)
beta_at = optax.linear_schedule(0.0, 1.0, 300)


@partial(jax.jit, donate_argnums=0)
def run_epoch(carry, key):
    k1, k2 = jax.random.split(key)
    batches = jax.random.permutation(k1, x_train).reshape(-1, BATCH, 64)

    def body(carry, inputs):
        params, opt_state, step = carry
        x, key = inputs
        (_, reconstruction), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, x, key, beta_at(step))
        updates, opt_state = tx.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state, step + 1), reconstruction

    return jax.lax.scan(body, carry, (batches, jax.random.split(k2, len(batches))))


key, sub = jax.random.split(key)
params = init(sub)
carry = (params, tx.init(params), jnp.int32(0))
for epoch in range(25):
    key, sub = jax.random.split(key)
    carry, reconstruction = run_epoch(carry, sub)
    if epoch % 5 == 0:
        print(f"epoch {epoch} reconstruction {reconstruction.mean():.3f}")
print("METRIC reconstruction", float(loss_fn(carry[0], x_test, key, 1.0)[1]))
