"""Representations of digits from two noisy views of each image, no labels (equinox)."""
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
X, y = load_digits(return_X_y=True)
images = ((X - 5) / 6).astype(np.float32)
order = rng.permutation(len(X))
train, test = order[:1200], order[1200:]


def unit(z):
    return z / (jnp.linalg.norm(z, axis=-1, keepdims=True) + 1e-6)


def view(key, x):
    noise_key, mask_key = jax.random.split(key)
    keep = jax.random.bernoulli(mask_key, 0.8, x.shape)
    return x * keep + 0.2 * jax.random.normal(noise_key, x.shape)


def loss_fn(encoder, key, x):
    ka, kb = jax.random.split(key)
    za, zb = jax.vmap(encoder)(view(ka, x)), jax.vmap(encoder)(view(kb, x))
    za, zb = unit(za), unit(zb)
    return jnp.mean(jnp.sum((za - zb) ** 2, axis=-1))


optimizer = optax.adam(2e-3)


@eqx.filter_jit
def train_step(encoder, opt_state, key, x):
    loss, grads = eqx.filter_value_and_grad(loss_fn)(encoder, key, x)
    updates, opt_state = optimizer.update(grads, opt_state)
    return eqx.apply_updates(encoder, updates), opt_state, loss


key = jax.random.key(SEED)
encoder = eqx.nn.MLP(64, 16, 64, depth=2, key=key)
opt_state = optimizer.init(eqx.filter(encoder, eqx.is_array))
for step in range(600):
    key, sub = jax.random.split(key)
    batch = rng.choice(train, 128, replace=False)
    encoder, opt_state, loss = train_step(encoder, opt_state, sub, images[batch])
    if step % 100 == 0:
        print(f"step {step} loss {loss:.5f}")

z = np.asarray(unit(jax.vmap(encoder)(images)))
probe = LogisticRegression(max_iter=500).fit(z[train], y[train])
print("METRIC probe_accuracy", probe.score(z[test], y[test]))
