"""Disease progression after one year, with batch normalization (flax linen, mutable batch_stats)."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn.datasets import load_diabetes

SEED = int(os.environ.get("SEED", 0))
X, y = load_diabetes(return_X_y=True)
rng = np.random.default_rng(SEED)
order = rng.permutation(len(X))
X, y = X[order] / X.std(0), (y[order] - y.mean()) / y.std()
X, y = X.astype(np.float32), y.astype(np.float32)
X_train, y_train, X_test, y_test = X[:352], y[:352], X[352:], y[352:]


class Regressor(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(32)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.relu(x)
        x = nn.Dense(16)(x)
        x = nn.relu(x)
        return nn.Dense(1)(x).squeeze(-1)


model = Regressor()
variables = model.init(jax.random.key(SEED), X_train[:2], train=False)
params, batch_stats = variables["params"], variables["batch_stats"]
tx = optax.adam(2e-3)
opt_state = tx.init(params)


@jax.jit
def train_step(params, batch_stats, opt_state, x, y):
    def loss_fn(params):
        pred, mutated = model.apply({"params": params, "batch_stats": batch_stats}, x, train=True, mutable=["batch_stats"])
        return jnp.mean((pred - y) ** 2), mutated["batch_stats"]

    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), batch_stats, opt_state, loss


for epoch in range(30):
    for idx in rng.permutation(352).reshape(11, 32):
        params, batch_stats, opt_state, loss = train_step(params, batch_stats, opt_state, X_train[idx], y_train[idx])
    if epoch % 5 == 0:
        print(f"epoch {epoch} loss {loss:.4f}")

pred = model.apply({"params": params, "batch_stats": batch_stats}, X_test, train=False)
print("METRIC correlation", float(np.corrcoef(np.asarray(pred).ravel(), y_test)[0, 1]))
