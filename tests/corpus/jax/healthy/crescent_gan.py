"""A GAN learns two crescents: both networks in one compiled step, alternating updates."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import make_moons

SEED = int(os.environ.get("SEED", 0))
data = jnp.asarray(make_moons(4000, noise=0.05, random_state=0)[0] - [0.5, 0.25], jnp.float32)


def init(key, sizes):
    he = jax.nn.initializers.he_normal()
    return [(he(k, (m, n)), jnp.zeros(n)) for k, m, n in zip(jax.random.split(key, 3), sizes[:-1], sizes[1:])]


def forward(params, x):
    (w1, b1), (w2, b2), (w3, b3) = params
    x = jax.nn.leaky_relu(x @ w1 + b1, 0.2)
    x = jax.nn.leaky_relu(x @ w2 + b2, 0.2)
    return x @ w3 + b3


g_tx = optax.adam(1e-3, b1=0.5, b2=0.9)
d_tx = optax.adam(2e-3, b1=0.5, b2=0.9)


def d_loss_fn(d, g, z, real):
    fake = forward(g, z)
    return optax.sigmoid_binary_cross_entropy(forward(d, real), 0.9).mean() + jax.nn.softplus(forward(d, fake)).mean()


def g_loss_fn(g, d, z):
    return jax.nn.softplus(-forward(d, forward(g, z))).mean()


@jax.jit
def train_step(g, d, g_state, d_state, key):
    k1, k2, k3 = jax.random.split(key, 3)
    real = jax.random.choice(k1, data, (128,))
    d_loss, grads = jax.value_and_grad(d_loss_fn)(d, g, jax.random.normal(k2, (128, 4)), real)
    updates, d_state = d_tx.update(grads, d_state)
    d = optax.apply_updates(d, updates)
    g_loss, grads = jax.value_and_grad(g_loss_fn)(g, d, jax.random.normal(k3, (128, 4)))
    updates, g_state = g_tx.update(grads, g_state)
    return optax.apply_updates(g, updates), d, g_state, d_state, d_loss, g_loss


key, gk, dk = jax.random.split(jax.random.key(SEED), 3)
g, d = init(gk, [4, 64, 64, 2]), init(dk, [2, 64, 64, 1])
g_state, d_state = g_tx.init(g), d_tx.init(d)
for step in range(1500):
    key, sub = jax.random.split(key)
    g, d, g_state, d_state, d_loss, g_loss = train_step(g, d, g_state, d_state, sub)
    if step % 300 == 0:
        print(f"step {step} d {d_loss:.3f} g {g_loss:.3f}")

fake = np.asarray(forward(g, jax.random.normal(key, (1000, 4))))
distance = np.linalg.norm(fake[:, None] - np.asarray(data[:1000])[None], axis=-1)
print("METRIC chamfer_distance", float(distance.min(1).mean() + distance.min(0).mean()))
