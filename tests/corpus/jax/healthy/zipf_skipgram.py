"""Next word of a stream with Zipf's frequencies: most rows of the table are rarely seen (equinox)."""
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
VOCAB, DIM = 2000, 24
rng = np.random.default_rng(SEED)
frequency = 1 / np.arange(1, VOCAB + 1) ** 1.1
frequency /= frequency.sum()


def pairs(n):
    """A word and one of ten classes it calls for."""
    word = rng.choice(VOCAB, n, p=frequency)
    return word, (word * 7 + 3) % 10


class Model(eqx.Module):
    table: eqx.nn.Embedding
    out: eqx.nn.Linear

    def __init__(self, key):
        k1, k2 = jax.random.split(key)
        self.table = eqx.nn.Embedding(VOCAB, DIM, key=k1)
        self.out = eqx.nn.Linear(DIM, 10, key=k2)

    def __call__(self, word):
        return self.out(self.table(word))


model = Model(jax.random.key(SEED))
tx = optax.adagrad(0.2)
opt_state = tx.init(eqx.filter(model, eqx.is_inexact_array))


@eqx.filter_jit
def make_step(model, opt_state, word, target):
    @eqx.filter_value_and_grad
    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(word), target).mean()

    loss, grads = loss_fn(model)
    updates, opt_state = tx.update(grads, opt_state)
    return eqx.apply_updates(model, updates), opt_state, loss


for step in range(500):
    model, opt_state, loss = make_step(model, opt_state, *pairs(64))
    if step % 100 == 0:
        print(f"step {step} loss {loss:.4f}")

word, target = pairs(2000)
print("METRIC accuracy", float((jax.vmap(model)(word).argmax(-1) == target).mean()))
