"""The adding problem for a GRU by lax.scan, with clipping that is active in many steps."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
LENGTH, HIDDEN = 20, 32
rng = np.random.default_rng(SEED)


def batch(n):
    values = rng.uniform(0, 1, (n, LENGTH))
    marks = np.zeros((n, LENGTH))
    marks[np.arange(n), rng.integers(0, LENGTH // 2, n)] = 1
    marks[np.arange(n), rng.integers(LENGTH // 2, LENGTH, n)] = 1
    return np.stack([values, marks], -1).astype(np.float32), (values * marks).sum(1).astype(np.float32)


def init(key):
    k = jax.random.split(key, 3)
    orthogonal = jax.nn.initializers.orthogonal()
    return {
        "x": jax.nn.initializers.glorot_normal()(k[0], (2, 3 * HIDDEN)),
        "h": jnp.concatenate([orthogonal(s, (HIDDEN, HIDDEN)) for s in jax.random.split(k[1], 3)], axis=1),
        "b": jnp.zeros(3 * HIDDEN),
        "out": jax.random.normal(k[2], (HIDDEN,)) / HIDDEN**0.5,
        "out_b": jnp.zeros(()),
    }


def gru(params, xs):
    def cell(h, x):
        xr, xz, xn = jnp.split(x @ params["x"] + params["b"], 3, axis=-1)
        hr, hz, hn = jnp.split(h @ params["h"], 3, axis=-1)
        r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
        return (1 - z) * jnp.tanh(xn + r * hn) + z * h, None

    h, _ = jax.lax.scan(cell, jnp.zeros((xs.shape[0], HIDDEN)), xs.swapaxes(0, 1))
    return h @ params["out"] + params["out_b"]


tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(8e-3))


@jax.jit
def train_step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(lambda p: jnp.mean((gru(p, x) - y) ** 2))(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


params = init(jax.random.key(SEED))
opt_state = tx.init(params)
for step in range(800):
    params, opt_state, loss = train_step(params, opt_state, *batch(64))
    if step % 100 == 0:
        print(f"step {step} loss {loss:.5f}")
x, y = batch(1000)
print("METRIC test_mse", float(jnp.mean((gru(params, x) - y) ** 2)))
