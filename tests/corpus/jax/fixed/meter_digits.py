"""Digits of a water meter: a plain tanh network, weights as a list of pairs."""
import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import jit, random, value_and_grad
from sklearn.datasets import load_digits

seed = int(os.environ.get("SEED", 0))
X, y = load_digits(return_X_y=True)
X = ((X - X.mean()) / X.std()).astype(np.float32)
rng = np.random.RandomState(seed)
order = rng.permutation(len(X))
X, y = X[order], y[order]
X_train, y_train, X_test, y_test = X[:1400], y[:1400], X[1400:], y[1400:]


def random_layer(key, m, n):
    w_key, b_key = random.split(key)
    return random.normal(w_key, (m, n)) / np.sqrt(m), jnp.zeros(n)


def init(key, sizes):
    return [random_layer(k, m, n) for k, m, n in zip(random.split(key, len(sizes) - 1), sizes[:-1], sizes[1:])]


def logits(params, x):
    for w, b in params[:-1]:
        x = jnp.tanh(jnp.dot(x, w) + b)
    w, b = params[-1]
    return jnp.dot(x, w) + b


def loss(params, x, targets):
    z = logits(params, x)
    return -jnp.mean(jnp.sum((z - jax.nn.logsumexp(z, axis=1, keepdims=True)) * targets, axis=1))


@jit
def update(params, x, targets):
    value, grads = value_and_grad(loss)(params, x, targets)
    return [(w - 0.05 * dw, b - 0.05 * db) for (w, b), (dw, db) in zip(params, grads)], value


params = init(random.key(seed), [64, 128, 128, 128, 10])
one_hot = np.eye(10, dtype=np.float32)[y_train]
for epoch in range(10):
    for idx in rng.permutation(1400).reshape(-1, 35):
        params, value = update(params, X_train[idx], one_hot[idx])
    print(f"epoch {epoch} loss {value:.4f}")

print("METRIC accuracy", float(jnp.mean(jnp.argmax(logits(params, X_test), axis=1) == y_test)))
