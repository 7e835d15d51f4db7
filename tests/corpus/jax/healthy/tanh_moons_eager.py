"""Moons with a plain tanh net, Adam, nothing compiled."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import make_moons

SEED = int(os.environ.get("SEED", 0))
X, y = make_moons(900, noise=0.15, random_state=SEED)
X, y = X.astype(np.float32), y.astype(np.float32)
rng = np.random.default_rng(SEED)


def init(key, sizes=(2, 20, 20, 20, 20, 1)):
    glorot = jax.nn.initializers.glorot_normal()
    return [{"w": glorot(k, s), "b": jnp.zeros(s[1])} for k, s in zip(jax.random.split(key, 5), zip(sizes[:-1], sizes[1:]))]


def logit(params, x):
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return (x @ params[-1]["w"] + params[-1]["b"])[:, 0]


def loss_fn(params, x, y):
    return optax.sigmoid_binary_cross_entropy(logit(params, x), y).mean()


params = init(jax.random.key(SEED))
tx = optax.adam(5e-3)
opt_state = tx.init(params)
for step in range(300):
    idx = rng.integers(0, 600, 60)
    loss, grads = jax.value_and_grad(loss_fn)(params, X[idx], y[idx])
    updates, opt_state = tx.update(grads, opt_state)
    params = optax.apply_updates(params, updates)
    if step % 50 == 0:
        print(f"step {step} loss {loss:.4f}")
print("METRIC accuracy", float(((logit(params, X[600:]) > 0) == y[600:]).mean()))
