"""Digits from a scanner with uneven lighting: whitened hidden layers."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.lax import stop_gradient
from sklearn.datasets import load_digits

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
X, y = load_digits(return_X_y=True)
# seen through a fixed random optical layer
mix = np.random.default_rng(1).normal(size=(64, 64)) / 8
X = np.sin(2 * (X / 16) @ mix).astype(np.float32)
order = rng.permutation(len(X))
X, y = X[order], y[order]
X_train, y_train, X_test, y_test = X[:1400], y[:1400], X[1400:], y[1400:]


def init(key):
    k = jax.random.split(key, 3)
    glorot = jax.nn.initializers.glorot_normal()
    return {
        "stem": {"w": glorot(k[0], (64, 24))},
        "mid": {"w": glorot(k[1], (24, 16))},
        "head": {"w": glorot(k[2], (16, 10)), "b": jnp.zeros(10)},
    }


def whiten(h):
    """Centres and scales each unit by the batch's statistics, which are constants for the gradient."""
    return (h - stop_gradient(h.mean(0))) / stop_gradient(h.std(0) + 1e-3)


def forward(params, x):
    h = jax.nn.relu(whiten(x @ params["stem"]["w"]))
    h = jax.nn.relu(whiten(h @ params["mid"]["w"]))
    return h @ params["head"]["w"] + params["head"]["b"]


def loss_fn(params, x, y):
    return optax.softmax_cross_entropy(forward(params, x), jax.nn.one_hot(y, 10)).mean()


optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9))


@jax.jit
def update(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


params = init(jax.random.key(SEED))
opt_state = optimizer.init(params)
for epoch in range(15):
    for idx in rng.permutation(1400).reshape(-1, 70):
        params, opt_state, loss = update(params, opt_state, X_train[idx], y_train[idx])
    if epoch % 5 == 4:
        print("epoch", epoch + 1, "loss", round(float(loss), 4))

print("METRIC accuracy", float((forward(params, X_test).argmax(-1) == y_test).mean()))
