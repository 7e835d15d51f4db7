"""A recurrent net reads thirty days of rainfall and gives the weighted total in the reservoir."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

seed = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(seed)
DAYS, HIDDEN = 30, 24
GAIN = 1.6


def make_batch(n):
    rain = rng.gamma(0.6, 1.0, (n, DAYS)).astype(np.float32)
    open_gate = (rng.random((n, DAYS)) < 0.5).astype(np.float32)
    total = (rain * open_gate).sum(1) / 10
    return np.stack([rain, open_gate], axis=-1), total.astype(np.float32)


def init(key):
    k1, k2 = jax.random.split(key)
    return {
        "w_in": jax.random.normal(k1, (2, HIDDEN)) * 0.1,
        "w_rec": jnp.eye(HIDDEN) * GAIN,
        "b": jnp.zeros(HIDDEN),
        "w_out": jax.random.normal(k2, (HIDDEN,)) * 0.2,
        "b_out": jnp.zeros(()),
    }


def rnn(params, x):
    def cell(h, x_t):
        return jax.nn.relu(x_t @ params["w_in"] + h @ params["w_rec"] + params["b"]), None

    h0 = jnp.zeros((x.shape[0], HIDDEN))
    h, _ = jax.lax.scan(cell, h0, jnp.swapaxes(x, 0, 1))
    return h @ params["w_out"] + params["b_out"]


def loss_fn(params, x, y):
    return jnp.mean((rnn(params, x) - y) ** 2)


tx = optax.adam(1e-3)


@jax.jit
def step(params, state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, loss


params = init(jax.random.key(seed))
state = tx.init(params)
for i in range(900):
    params, state, loss = step(params, state, *make_batch(64))
    if i % 100 == 0:
        print(i, float(loss))

x_test, y_test = make_batch(1000)
print("METRIC test_mae", float(jnp.mean(jnp.abs(rnn(params, x_test) - y_test))))
