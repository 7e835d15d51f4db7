"""Which of three concentric zones of an orchard does a tree stand in?"""
import os

import jax
import jax.numpy as jnp
import numpy as np

seed = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(seed)

radius = np.concatenate([rng.normal(r, 0.12, 400) for r in (0.5, 1.2, 1.9)])
angle = rng.uniform(0, 2 * np.pi, 1200)
X = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
y = np.repeat(np.arange(3), 400)
order = rng.permutation(1200)
X, y = X[order], y[order]
X_train, y_train, X_test, y_test = X[:900], y[:900], X[900:], y[900:]

SIZES = [2] + [24] * 9 + [3]
activation = jax.nn.sigmoid


def init(key):
    params = []
    for n_in, n_out in zip(SIZES[:-1], SIZES[1:]):
        key, sub = jax.random.split(key)
        W = jax.random.normal(sub, (n_in, n_out)) * jnp.sqrt(2.0 / (n_in + n_out))
        params.append({"W": W, "b": jnp.zeros(n_out)})
    return params


def predict(params, x):
    for layer in params[:-1]:
        x = activation(x @ layer["W"] + layer["b"])
    return x @ params[-1]["W"] + params[-1]["b"]


def loss_fn(params, x, y):
    logp = jax.nn.log_softmax(predict(params, x))
    return -jnp.mean(logp[jnp.arange(len(y)), y])


@jax.jit
def update(params, x, y, lr):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    return jax.tree.map(lambda p, g: p - lr * g, params, grads), loss


params = init(jax.random.key(seed))
for epoch in range(30):
    for idx in np.array_split(rng.permutation(900), 18):
        params, loss = update(params, X_train[idx], y_train[idx], 0.05)
    if epoch % 5 == 0:
        print(f"epoch {epoch}: loss {loss:.4f}")

accuracy = jnp.mean(predict(params, X_test).argmax(-1) == y_test)
print("METRIC accuracy", float(accuracy))
