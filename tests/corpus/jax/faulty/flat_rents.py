"""Yearly rent of a flat in the local currency (flax nnx)."""
import os

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)

n = 1200
area = rng.uniform(25, 160, n)
floor = rng.integers(0, 12, n)
age = rng.uniform(0, 90, n)
centre = rng.exponential(5, n)
rent = 12 * (400 * area + 900 * floor - 60 * age - 1500 * centre + 25 * area * np.maximum(0, 8 - centre)) + rng.normal(0, 20000, n)

X = np.stack([area, floor, age, centre], axis=1)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
shift, scale = 0.0, 1.0
y = ((rent - shift) / scale).astype(np.float32)


class Rent(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden1 = nnx.Linear(4, 48, rngs=rngs)
        self.hidden2 = nnx.Linear(48, 48, rngs=rngs)
        self.out = nnx.Linear(48, 1, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden2(nnx.relu(self.hidden1(x))))).squeeze(-1)


@nnx.jit
def train_step(model, optimizer, x, y):
    def loss_fn(model):
        return jnp.mean(optax.squared_error(model(x), y))

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


model = Rent(nnx.Rngs(SEED))
optimizer = nnx.Optimizer(model, optax.adam(2e-3), wrt=nnx.Param)
for epoch in range(20):
    for idx in np.array_split(rng.permutation(1000), 25):
        loss = train_step(model, optimizer, X[idx], y[idx])
    if epoch % 5 == 0:
        print(f"epoch {epoch} loss {float(loss):.4g}")

error = np.abs(np.asarray(model(X[1000:])) * scale + shift - rent[1000:])
print("METRIC mae_in_thousands", float(error.mean() / 1000))
