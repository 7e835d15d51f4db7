"""A pre-norm transformer sorts digits; warm-up and cosine, residual branches start at zero."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

SEED = int(os.environ.get("SEED", 0))
VOCAB, LENGTH, DIM = 10, 6, 48


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=4, out_kernel_init=nn.initializers.zeros)(h, h)
        h = nn.gelu(nn.Dense(2 * DIM)(nn.LayerNorm()(x)))
        return x + nn.Dense(DIM, kernel_init=nn.initializers.zeros)(h)


class Sorter(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(VOCAB, DIM)(tokens) + self.param("positions", nn.initializers.normal(0.02), (LENGTH, DIM))
        for _ in range(2):
            x = Block()(x)
        return nn.Dense(VOCAB)(nn.LayerNorm()(x))


model = Sorter()
schedule = optax.warmup_cosine_decay_schedule(0.0, 4e-3, warmup_steps=50, decay_steps=350)
tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.01))


@jax.jit
def train_step(params, opt_state, tokens):
    def loss_fn(params):
        logits = model.apply(params, tokens)
        return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.sort(tokens, axis=-1)).mean()

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


rng = np.random.default_rng(SEED)
params = model.init(jax.random.key(SEED), jnp.zeros((1, LENGTH), jnp.int32))
opt_state = tx.init(params)
for step in range(350):
    params, opt_state, loss = train_step(params, opt_state, rng.integers(0, VOCAB, (64, LENGTH)))
    if step % 50 == 0:
        print(f"step {step} loss {loss:.4f}")

tokens = rng.integers(0, VOCAB, (500, LENGTH))
accuracy = (model.apply(params, tokens).argmax(-1) == np.sort(tokens, -1)).mean()
print("METRIC token_accuracy", float(accuracy))
