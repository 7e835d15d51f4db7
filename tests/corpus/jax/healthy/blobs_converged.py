"""Easy blobs: solved within an epoch, trained on for a long while by hand-written SGD."""
import os

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import make_blobs

SEED = int(os.environ.get("SEED", 0))
X, y = make_blobs(1000, centers=4, n_features=5, cluster_std=1.0, center_box=(-8, 8), random_state=1)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
rng = np.random.default_rng(SEED)


def loss_fn(params, x, y):
    h = jnp.tanh(x @ params["w1"] + params["b1"])
    logp = jax.nn.log_softmax(h @ params["w2"] + params["b2"])
    return -logp[jnp.arange(len(y)), y].mean()


@jax.jit
def update(params, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    return jax.tree.map(lambda p, g: p - 0.3 * g, params, grads), loss


k1, k2 = jax.random.split(jax.random.key(SEED))
params = {
    "w1": jax.random.normal(k1, (5, 16)) / 5**0.5, "b1": jnp.zeros(16),
    "w2": jax.random.normal(k2, (16, 4)) / 4, "b2": jnp.zeros(4),
}
for epoch in range(40):
    for idx in rng.permutation(800).reshape(-1, 40):
        params, loss = update(params, X[idx], y[idx])
    if epoch % 8 == 0:
        print(f"epoch {epoch} loss {loss:.5f}")

h = np.tanh(X[800:] @ params["w1"] + params["b1"])
print("METRIC accuracy", float(((h @ params["w2"] + params["b2"]).argmax(-1) == y[800:]).mean()))
