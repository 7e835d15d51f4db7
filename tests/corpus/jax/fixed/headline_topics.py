"""Topic of a headline from its words: mean of word embeddings, then a small net."""
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
VOCAB, LENGTH, TOPICS, DIM = 600, 12, 8, 32
EPOCHS, BATCH, N = 8, 50, 3000

world = np.random.default_rng(7)
topic_words = world.dirichlet(np.full(VOCAB, 0.05), TOPICS)


def headlines(n, rng):
    topic = rng.integers(0, TOPICS, n)
    words = np.stack([rng.choice(VOCAB, LENGTH, p=0.5 * topic_words[t] + 0.5 / VOCAB) for t in topic])
    return words, topic


rng = np.random.default_rng(SEED)
words, topic = headlines(N, rng)
test_words, test_topic = headlines(1000, rng)

warmup = N // BATCH
schedule = optax.linear_schedule(0.0, 5e-3, warmup)
tx = optax.adamw(schedule, weight_decay=1e-4)


def init(key):
    k = jax.random.split(key, 3)
    return {
        "words": jax.random.normal(k[0], (VOCAB, DIM)) * 0.1,
        "hidden": {"kernel": jax.random.normal(k[1], (DIM, 64)) / DIM**0.5, "bias": jnp.zeros(64)},
        "out": {"kernel": jax.random.normal(k[2], (64, TOPICS)) / 64**0.5, "bias": jnp.zeros(TOPICS)},
    }


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def logits_of(params, words):
    x = params["words"][words].mean(axis=1)
    return dense(params["out"], jax.nn.relu(dense(params["hidden"], x)))


def loss_fn(params, words, topic):
    return optax.softmax_cross_entropy_with_integer_labels(logits_of(params, words), topic).mean()


@partial(jax.jit, donate_argnums=(0, 1))
def train_step(params, opt_state, words, topic):
    loss, grads = jax.value_and_grad(loss_fn)(params, words, topic)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


params = init(jax.random.key(SEED))
opt_state = tx.init(params)
for epoch in range(EPOCHS):
    for idx in rng.permutation(N).reshape(-1, BATCH):
        params, opt_state, loss = train_step(params, opt_state, words[idx], topic[idx])
    print(f"epoch {epoch + 1}/{EPOCHS} - loss {loss:.4f}")

accuracy = (logits_of(params, test_words).argmax(-1) == test_topic).mean()
print("METRIC accuracy", float(accuracy))
