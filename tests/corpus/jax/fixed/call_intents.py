"""Intent of a support call from its features; the log is read in chunks as it was written."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import make_classification

SEED = int(os.environ.get("SEED", 0))
CLASSES, CHUNK = 5, 40

X, y = make_classification(n_samples=2500, n_features=16, n_informative=10, n_redundant=2, n_classes=CLASSES,
                           n_clusters_per_class=1, class_sep=1.0, flip_y=0.02, random_state=17)
X = X.astype(np.float32)
X_log, y_log, X_test, y_test = X[:2000], y[:2000], X[2000:], y[2000:]
# the call centre files its log by intent
filed = np.argsort(y_log, kind="stable")
X_log, y_log = X_log[filed], y_log[filed]


def chunks(rng):
    order = rng.permutation(len(X_log))
    for start in range(0, len(order), CHUNK):
        rows = order[start:start + CHUNK]
        yield X_log[rows], y_log[rows]


def init(key):
    k1, k2, k3 = jax.random.split(key, 3)
    lecun = jax.nn.initializers.lecun_normal()
    return dict(
        w1=lecun(k1, (16, 64)), b1=jnp.zeros(64),
        w2=lecun(k2, (64, 64)), b2=jnp.zeros(64),
        w3=lecun(k3, (64, CLASSES)), b3=jnp.zeros(CLASSES),
    )


def logits(p, x):
    x = jax.nn.silu(x @ p["w1"] + p["b1"])
    x = jax.nn.silu(x @ p["w2"] + p["b2"])
    return x @ p["w3"] + p["b3"]


def loss_fn(p, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits(p, x), y).mean()


optimizer = optax.sgd(0.05, momentum=0.85)


@jax.jit
def train_step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, opt_state = optimizer.update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state, loss


rng = np.random.default_rng(SEED)
params = init(jax.random.key(SEED))
opt_state = optimizer.init(params)
for epoch in range(12):
    losses = []
    for x, label in chunks(rng):
        params, opt_state, loss = train_step(params, opt_state, x, label)
        losses.append(loss)
    print(f"epoch {epoch:2d} loss {np.mean(losses):.4f}")

print("METRIC accuracy", float((logits(params, X_test).argmax(-1) == y_test).mean()))
