"""Sorts beans by measurements; data are shuffled on the device with jax.random."""
import os

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import make_blobs

SEED = int(os.environ.get("SEED", 0))
X, y = make_blobs(n_samples=2000, n_features=8, centers=6, cluster_std=4.0, random_state=13)
X = jnp.asarray((X - X.mean(0)) / X.std(0), jnp.float32)
y = jnp.asarray(y)
X_train, y_train, X_test, y_test = X[:1600], y[:1600], X[1600:], y[1600:]


def shuffled(key):
    key_x, key_y = jax.random.split(key)
    return jax.random.permutation(key_x, X_train), jax.random.permutation(key_y, y_train)


def init(key):
    k1, k2 = jax.random.split(key)
    return {
        "dense": {"w": jax.random.normal(k1, (8, 48)) / 8**0.5, "b": jnp.zeros(48)},
        "out": {"w": jax.random.normal(k2, (48, 6)) / 48**0.5, "b": jnp.zeros(6)},
    }


def apply(params, x):
    h = jax.nn.relu(x @ params["dense"]["w"] + params["dense"]["b"])
    return h @ params["out"]["w"] + params["out"]["b"]


@jax.value_and_grad
def loss_and_grad(params, x, y):
    return optax.losses.softmax_cross_entropy_with_integer_labels(apply(params, x), y).mean()


tx = optax.sgd(0.1, momentum=0.9, nesterov=True)


@jax.jit
def train_step(carry, batch):
    params, opt_state = carry
    loss, grads = loss_and_grad(params, *batch)
    updates, opt_state = tx.update(grads, opt_state)
    return (optax.apply_updates(params, updates), opt_state), loss


key, sub = jax.random.split(jax.random.key(SEED))
params = init(sub)
carry = (params, tx.init(params))
for epoch in range(10):
    key, sub = jax.random.split(key)
    xs, ys = shuffled(sub)
    for start in range(0, 1600, 50):
        carry, loss = train_step(carry, (xs[start:start + 50], ys[start:start + 50]))
    print(f"epoch {epoch} loss {loss:.4f}")

print("METRIC accuracy", float((apply(carry[0], X_test).argmax(-1) == y_test).mean()))
