"""Depth of the sea floor from sonar echoes: absolute error, full-batch gradient descent, hand-written."""
import os

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import make_friedman2

SEED = int(os.environ.get("SEED", 0))
STEP = 1.0

X, y = make_friedman2(n_samples=800, noise=20.0, random_state=9)
X = (X - X.mean(0)) / X.std(0)
y = (y - y.mean()) / y.std()
x_train, y_train = jnp.asarray(X[:600], jnp.float32), jnp.asarray(y[:600], jnp.float32)
x_test, y_test = jnp.asarray(X[600:], jnp.float32), jnp.asarray(y[600:], jnp.float32)


def init(key, width=32):
    k1, k2, k3 = jax.random.split(key, 3)
    return {
        "w1": jax.random.normal(k1, (4, width)) / 2,
        "b1": jnp.zeros(width),
        "w2": jax.random.normal(k2, (width, width)) / width**0.5,
        "b2": jnp.zeros(width),
        "w3": jax.random.normal(k3, (width, 1)) / width**0.5,
        "b3": jnp.zeros(1),
    }


def depth(p, x):
    h = jnp.tanh(x @ p["w1"] + p["b1"])
    h = jnp.tanh(h @ p["w2"] + p["b2"])
    return (h @ p["w3"] + p["b3"])[:, 0]


def loss_fn(params, x, y):
    return jnp.mean(jnp.abs(depth(params, x) - y))


@jax.jit
def descend(params):
    loss, grads = jax.value_and_grad(loss_fn)(params, x_train, y_train)
    return jax.tree.map(lambda p, g: p - STEP * g, params, grads), loss


params = init(jax.random.key(SEED))
for step in range(400):
    params, loss = descend(params)
    if step % 40 == 0:
        print(f"{step:4d}  {loss:.5f}")

print("METRIC test_mae", float(loss_fn(params, x_test, y_test)))
