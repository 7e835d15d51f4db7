"""Several diagnosis codes per patient from lab values: per-example loss, vmapped."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import log_loss

seed = int(os.environ.get("SEED", 0))
X, Y = make_multilabel_classification(n_samples=3000, n_features=30, n_classes=8, n_labels=2, random_state=4)
X = (X - X.mean(0)) / X.std(0)
X, Y = X.astype(np.float32), Y.astype(np.float32)
X_test, Y_test = X[2400:], Y[2400:]

key = jax.random.PRNGKey(seed)


def init_layer(key, m, n):
    w_key, _ = jax.random.split(key)
    return jax.random.uniform(w_key, (m, n), minval=-1, maxval=1) * jnp.sqrt(6 / (m + n)), jnp.zeros(n)


def init(key):
    k1, k2 = jax.random.split(key)
    return {"hidden": init_layer(k1, 30, 64), "codes": init_layer(k2, 64, 8)}


def apply(params, x):
    w, b = params["hidden"]
    h = jax.nn.swish(x @ w + b)
    w, b = params["codes"]
    return h @ w + b


def example_loss(params, x, y):
    return optax.sigmoid_binary_cross_entropy(apply(params, x), y).sum()


@jax.jit
@jax.value_and_grad
def objective(params, x, y):
    return jnp.mean(jax.vmap(example_loss, in_axes=(None, 0, 0))(params, x, y))


params = init(key)
tx = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(2e-3))
opt_state = tx.init(params)
update = jax.jit(tx.update)
for epoch in range(8):
    key, sub = jax.random.split(key)
    for idx in jax.random.permutation(sub, 2400).reshape(-1, 48):
        loss, grads = objective(params, X[idx], Y[idx])
        updates, opt_state = update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    print("epoch", epoch, "loss", float(loss))

probabilities = np.asarray(jax.nn.sigmoid(apply(params, X_test)), np.float64)
print("METRIC log_loss", float(np.mean([log_loss(Y_test[:, k], probabilities[:, k]) for k in range(8)])))
