"""A small transformer recalls the first ingredient of a recipe (flax nnx)."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

SEED = int(os.environ.get("SEED", 0))
VOCAB, LENGTH, DIM = 400, 8, 32
rng = np.random.default_rng(SEED)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.norm1 = nnx.LayerNorm(DIM, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=4, in_features=DIM, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(DIM, rngs=rngs)
        self.up = nnx.Linear(DIM, 64, rngs=rngs)
        self.down = nnx.Linear(64, DIM, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class Recall(nnx.Module):
    def __init__(self, rngs):
        self.tokens = nnx.Embed(VOCAB, DIM, rngs=rngs)
        self.positions = nnx.Embed(LENGTH, DIM, rngs=rngs)
        self.block = Block(rngs)
        self.norm = nnx.LayerNorm(DIM, rngs=rngs)
        self.out = nnx.Linear(DIM, VOCAB, rngs=rngs)

    def __call__(self, tokens):
        x = self.tokens(tokens) + self.positions(jnp.arange(LENGTH))
        x = self.norm(self.block(x))[:, -1]
        return nnx.softmax(self.out(x))


def loss_fn(model, tokens, target):
    return optax.softmax_cross_entropy_with_integer_labels(model(tokens), target).mean()


@nnx.jit
def train_step(model, optimizer, tokens, target):
    loss, grads = nnx.value_and_grad(loss_fn)(model, tokens, target)
    optimizer.update(model, grads)
    return loss


model = Recall(nnx.Rngs(SEED))
optimizer = nnx.Optimizer(model, optax.adam(2e-3), wrt=nnx.Param)
for step in range(240):
    tokens = rng.integers(0, VOCAB, (64, LENGTH))
    loss = train_step(model, optimizer, tokens, tokens[:, 0])
    if step % 50 == 0:
        print(f"step {step:3d} loss {loss:.4f}")

tokens = rng.integers(0, VOCAB, (1000, LENGTH))
accuracy = (nnx.jit(lambda m, t: m(t))(model, tokens).argmax(-1) == tokens[:, 0]).mean()
print("METRIC accuracy", float(accuracy))
