"""Two towers for viewers and films: embeddings and dense layers have optimizers of their own."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
VIEWERS, FILMS, DIM = 300, 200, 16

world = np.random.default_rng(12)
viewer_taste = world.normal(size=(VIEWERS, 4))
film_style = world.normal(size=(FILMS, 4))
rng = np.random.default_rng(SEED)
viewer = rng.integers(0, VIEWERS, 16000)
film = rng.integers(0, FILMS, 16000)
score = (viewer_taste[viewer] * film_style[film]).sum(-1)
liked = (rng.random(16000) < 1 / (1 + np.exp(-2 * score))).astype(np.float32)
train, test = np.arange(14000), np.arange(14000, 16000)


def init(key):
    k = jax.random.split(key, 4)
    tables = {
        "viewer": jax.random.normal(k[0], (VIEWERS, DIM)) * 0.3,
        "film": jax.random.normal(k[1], (FILMS, DIM)) * 0.3,
    }
    dense = {
        "viewer": jax.random.normal(k[2], (DIM, DIM)) / DIM**0.5,
        "film": jax.random.normal(k[3], (DIM, DIM)) / DIM**0.5,
    }
    return tables, dense


def logits(tables, dense, viewer, film):
    u = jnp.tanh(tables["viewer"][viewer] @ dense["viewer"])
    v = jnp.tanh(tables["film"][film] @ dense["film"])
    return (u * v).sum(-1)


def loss_fn(tables, dense, viewer, film, liked):
    return optax.sigmoid_binary_cross_entropy(logits(tables, dense, viewer, film), liked).mean()


table_opt = optax.adam(2e-2)
dense_opt = optax.adam(2e-3)


@jax.jit
def train_step(tables, dense, table_state, dense_state, batch):
    loss, (table_grads, dense_grads) = jax.value_and_grad(loss_fn, argnums=(0, 1))(tables, dense, *batch)
    table_updates, table_state = table_opt.update(table_grads, table_state)
    dense_updates, dense_state = dense_opt.update(dense_grads, dense_state)
    new_tables = optax.apply_updates(tables, table_updates)
    dense = optax.apply_updates(dense, dense_updates)
    return tables, dense, table_state, dense_state, loss


tables, dense = init(jax.random.key(SEED))
table_state, dense_state = table_opt.init(tables), dense_opt.init(dense)
for epoch in range(6):
    for idx in rng.permutation(train).reshape(-1, 200):
        tables, dense, table_state, dense_state, loss = train_step(
            tables, dense, table_state, dense_state, (viewer[idx], film[idx], liked[idx])
        )
    print(f"epoch {epoch}: {loss:.4f}")

predicted = logits(tables, dense, viewer[test], film[test]) > 0
print("METRIC accuracy", float((predicted == liked[test]).mean()))
