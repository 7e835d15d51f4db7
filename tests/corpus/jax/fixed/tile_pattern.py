"""Colour of a point of a tiled floor. Each hidden unit is drawn by its own key."""
import os

import jax
import jax.numpy as jnp
import numpy as np

SEED = int(os.environ.get("SEED", 0))
HIDDEN = 48
rng = np.random.default_rng(SEED)
points = rng.uniform(-2, 2, (1500, 2)).astype(np.float32)
colour = ((np.floor(points[:, 0]) + np.floor(points[:, 1])) % 2).astype(np.float32)
x_train, y_train, x_test, y_test = points[:1200], colour[:1200], points[1200:], colour[1200:]


def unit(key, fan_in):
    return jax.random.normal(key, (fan_in,)) * jnp.sqrt(2 / fan_in)


def dense(key, fan_in, units):
    keys = jax.random.split(key, units)
    return {"w": jax.vmap(unit, in_axes=(0, None), out_axes=1)(keys, fan_in), "b": jnp.zeros(units)}


def init(key):
    k1, k2, k3 = jax.random.split(key, 3)
    return [dense(k1, 2, HIDDEN), dense(k2, HIDDEN, HIDDEN), dense(k3, HIDDEN, 1)]


def score(params, x):
    for layer in params[:-1]:
        x = jax.nn.gelu(x @ layer["w"] + layer["b"])
    return (x @ params[-1]["w"] + params[-1]["b"])[:, 0]


def loss_fn(params, x, y):
    z = score(params, x)
    return jnp.mean(jnp.logaddexp(0, z) - y * z)


@jax.jit
def adam_step(params, m, v, t, x, y, lr=5e-3, b1=0.9, b2=0.999):
    loss, g = jax.value_and_grad(loss_fn)(params, x, y)
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, g)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, v, g)
    params = jax.tree.map(
        lambda p, m, v: p - lr * (m / (1 - b1**t)) / (jnp.sqrt(v / (1 - b2**t)) + 1e-8), params, m, v
    )
    return params, m, v, loss


params = init(jax.random.key(SEED))
m = v = jax.tree.map(jnp.zeros_like, params)
for t in range(1, 801):
    idx = rng.integers(0, 1200, 128)
    params, m, v, loss = adam_step(params, m, v, t, x_train[idx], y_train[idx])
    if t % 100 == 0:
        print(f"step {t} loss {loss:.4f}")

print("METRIC accuracy", float(((score(params, x_test) > 0) == (y_test > 0.5)).mean()))
