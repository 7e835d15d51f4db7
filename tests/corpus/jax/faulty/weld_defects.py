"""Finds weld images with a crack. Cracks are rare, so the detector starts from their prior."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.metrics import average_precision_score

SEED = int(os.environ.get("SEED", 0))
PRIOR = 0.1
prior_bias = nnx.initializers.constant(float(np.log(PRIOR / (1 - PRIOR))))


def make_images(n, rng):
    images = rng.normal(0, 0.5, (n, 12, 12, 1))
    cracked = rng.random(n) < PRIOR
    for i in np.flatnonzero(cracked):
        r, c = rng.integers(2, 6, 2)
        for k in range(6):
            images[i, r + k, c + k if i % 2 else 11 - c - k, 0] += 1.6
    return images.astype(np.float32), cracked.astype(np.float32)


class Detector(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        conv_bias = prior_bias
        self.conv1 = nnx.Conv(1, 12, kernel_size=(3, 3), bias_init=conv_bias, rngs=rngs)
        self.conv2 = nnx.Conv(12, 24, kernel_size=(3, 3), bias_init=conv_bias, rngs=rngs)
        self.head = nnx.Linear(24, 1, bias_init=prior_bias, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.conv1(x))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.relu(self.conv2(x))
        x = x.max(axis=(1, 2))
        return self.head(x)[:, 0]


@nnx.jit
def train_step(model, optimizer, images, cracked):
    def loss_fn(model):
        return optax.sigmoid_binary_cross_entropy(model(images), cracked).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


def main():
    rng = np.random.default_rng(SEED)
    images, cracked = make_images(2000, rng)
    test_images, test_cracked = make_images(1000, rng)
    model = Detector(nnx.Rngs(SEED))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    for epoch in range(8):
        for idx in rng.permutation(2000).reshape(-1, 50):
            loss = train_step(model, optimizer, images[idx], cracked[idx])
        print("epoch", epoch, "loss", float(loss))
    score = nnx.jit(lambda m, x: m(x))(model, test_images)
    print("METRIC average_precision", average_precision_score(test_cracked, score))


if __name__ == "__main__":
    main()
