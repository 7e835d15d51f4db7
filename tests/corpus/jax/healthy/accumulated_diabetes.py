"""Gradients of eight small batches per update by optax.MultiSteps (flax nnx)."""
import os

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_diabetes

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
X, y = load_diabetes(return_X_y=True)
order = rng.permutation(len(X))
X, y = (X[order] / X.std(0)).astype(np.float32), ((y[order] - y.mean()) / y.std()).astype(np.float32)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(10, 24, rngs=rngs)
        self.out = nnx.Linear(24, 1, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.tanh(self.hidden(x)))[:, 0]


@nnx.jit
def train_step(model, optimizer, x, y):
    def loss_fn(model):
        return jnp.mean((model(x) - y) ** 2)

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


model = Net(nnx.Rngs(SEED))
tx = optax.MultiSteps(optax.adam(3e-3), every_k_schedule=8)
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
for epoch in range(40):
    losses = [train_step(model, optimizer, X[idx], y[idx]) for idx in rng.permutation(352).reshape(-1, 8)]
    if epoch % 10 == 0:
        print("epoch", epoch, "loss", round(float(jnp.mean(jnp.stack(losses))), 4))

print("METRIC correlation", float(np.corrcoef(model(X[352:]), y[352:])[0, 1]))
