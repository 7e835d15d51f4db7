"""Learns an embedding of digits in which images of one class lie close together (equinox)."""
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

seed = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(seed)
X, y = load_digits(return_X_y=True)
X = ((X - 8) / 6).astype(np.float32)
order = rng.permutation(len(X))
train, test = order[:1300], order[1300:]


def pairwise_distance(z):
    squared = jnp.sum((z[:, None, :] - z[None, :, :]) ** 2, axis=-1)
    off_diagonal = ~jnp.eye(len(z), dtype=bool)
    return jnp.where(off_diagonal, jnp.sqrt(squared + 1e-8), 0.0)


def contrastive_loss(model, x, y, margin=2.0):
    z = jax.vmap(model)(x)
    d = pairwise_distance(z)
    same = (y[:, None] == y[None, :]).astype(d.dtype)
    pull = same * d**2
    push = (1 - same) * jnp.maximum(margin - d, 0) ** 2
    return jnp.sum(pull + push) / (len(y) * (len(y) - 1))


model = eqx.nn.MLP(64, 2, 64, depth=2, activation=jax.nn.tanh, key=jax.random.key(seed))
optimizer = optax.adam(3e-3)
opt_state = optimizer.init(eqx.filter(model, eqx.is_array))


@eqx.filter_jit
def step(model, opt_state, x, y):
    loss, grads = eqx.filter_value_and_grad(contrastive_loss)(model, x, y)
    updates, opt_state = optimizer.update(grads, opt_state, model)
    return eqx.apply_updates(model, updates), opt_state, loss


for i in range(500):
    idx = rng.choice(train, 64, replace=False)
    model, opt_state, loss = step(model, opt_state, X[idx], y[idx])
    if i % 100 == 0:
        print(f"{i:4d} {loss:.4f}")

z_train = np.nan_to_num(jax.vmap(model)(X[train]))
z_test = np.nan_to_num(jax.vmap(model)(X[test]))
knn = KNeighborsClassifier(5).fit(z_train, y[train])
print("METRIC knn_accuracy", knn.score(z_test, y[test]))
