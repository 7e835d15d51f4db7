"""Default of a loan: blocks without weight decay on biases and norms (flax linen, multi_transform)."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util
from flax.training import train_state
from sklearn.datasets import make_classification

SEED = int(os.environ.get("SEED", 0))
X, y = make_classification(n_samples=3000, n_features=16, n_informative=10, n_redundant=0, n_classes=2,
                           n_clusters_per_class=6, class_sep=1.3, flip_y=0.01, random_state=21)
X = (X / X.std(0)).astype(np.float32)
X_train, y_train, X_test, y_test = X[:2400], y[:2400], X[2400:], y[2400:]


class Scorer(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.Dense(64)(x)
            x = nn.LayerNorm()(x)
            x = nn.relu(x)
        return nn.Dense(1)(x)[:, 0]


def label_of(path, _):
    return "decay" if path[-1] == "kernel" else "no_decay" if path[-1] in ("bias", "scale") else "frozen"


model = Scorer()
params = model.init(jax.random.key(SEED), X_train[:1])["params"]
labels = traverse_util.path_aware_map(label_of, params)
tx = optax.multi_transform(
    {
        "decay": optax.adamw(3e-3, weight_decay=1e-3),
        "no_decay": optax.adam(3e-3),
        "frozen": optax.set_to_zero(),
    },
    labels,
)
state = train_state.TrainState.create(apply_fn=model.apply, params=params, tx=tx)


@jax.jit
def train_step(state, x, y):
    def loss_fn(params):
        return optax.sigmoid_binary_cross_entropy(state.apply_fn({"params": params}, x), y).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


rng = np.random.default_rng(SEED)
for epoch in range(12):
    for idx in np.split(rng.permutation(2400), 40):
        state, loss = train_step(state, X_train[idx], y_train[idx])
    print(f"epoch {epoch:2d} | loss {loss:.4f}")

prediction = state.apply_fn({"params": state.params}, X_test) > 0
print("METRIC accuracy", float((prediction == y_test).mean()))
