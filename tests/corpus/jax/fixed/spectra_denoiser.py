"""Denoising autoencoder for spectra (flax nnx)."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

SEED = int(os.environ.get("SEED", 0))
LEARNING_RATE = 2e-3
rng = np.random.default_rng(SEED)
channel = np.linspace(0, 1, 40)


def spectra(n):
    centre, width, height = rng.uniform(0.1, 0.9, (n, 2, 1)), rng.uniform(0.03, 0.1, (n, 2, 1)), rng.uniform(0.5, 1.5, (n, 2, 1))
    clean = (height * np.exp(-((channel - centre) ** 2) / (2 * width**2))).sum(1)
    return clean.astype(np.float32), (clean + rng.normal(0, 0.3, clean.shape)).astype(np.float32)


class Denoiser(nnx.Module):
    def __init__(self, rngs):
        self.encode = nnx.Sequential(nnx.Linear(40, 64, rngs=rngs), nnx.swish, nnx.Linear(64, 12, rngs=rngs))
        self.decode = nnx.Sequential(nnx.Linear(12, 64, rngs=rngs), nnx.swish, nnx.Linear(64, 40, rngs=rngs))

    def __call__(self, x):
        return self.decode(self.encode(x))


@nnx.jit
def train_step(model, optimizer, noisy, clean):
    loss, grads = nnx.value_and_grad(lambda model: jnp.mean((model(noisy) - clean) ** 2))(model)
    optimizer.update(model, grads)
    return loss


clean, noisy = spectra(2000)
test_clean, test_noisy = spectra(500)
model = Denoiser(nnx.Rngs(SEED))
optimizer = nnx.Optimizer(model, optax.adam(LEARNING_RATE), wrt=nnx.Param)
for epoch in range(10):
    for idx in rng.permutation(2000).reshape(-1, 50):
        loss = train_step(model, optimizer, noisy[idx], clean[idx])
    if epoch % 2 == 0:
        print("epoch", epoch, "loss", round(float(loss), 5))

print("METRIC test_mse", float(jnp.mean((model(test_noisy) - test_clean) ** 2)))
