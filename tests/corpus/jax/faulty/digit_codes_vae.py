"""A variational autoencoder of digits, raw pytrees, donated buffers."""
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

SEED = int(os.environ.get("SEED", 0))
LATENT = 8
rng = np.random.default_rng(SEED)
X = (load_digits().data / 16).astype(np.float32)
X = X[rng.permutation(len(X))]
x_train, x_test = X[:1500], X[1500:]


def layer(key, m, n):
    return {"w": jax.random.normal(key, (m, n)) * jnp.sqrt(2 / (m + n)), "b": jnp.zeros(n)}


def init(key):
    k = jax.random.split(key, 4)
    return {
        "enc": layer(k[0], 64, 64),
        "posterior": layer(k[1], 64, 2 * LATENT),
        "dec": layer(k[2], LATENT, 64),
        "pixels": layer(k[3], 64, 64),
    }


def dense(p, x):
    return x @ p["w"] + p["b"]


def encode(params, x):
    return jnp.split(dense(params["posterior"], jax.nn.elu(dense(params["enc"], x))), 2, axis=-1)


def decode(params, z):
    return dense(params["pixels"], jax.nn.elu(dense(params["dec"], z)))


def negative_elbo(params, key, x):
    mean, log_var = encode(params, x)
    z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
    bernoulli = optax.sigmoid_binary_cross_entropy(decode(params, z), x)
    reconstruction = bernoulli.mean(axis=-1)
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - 1 - log_var, axis=-1)
    return jnp.mean(reconstruction + kl)


tx = optax.adam(2e-3)


@partial(jax.jit, donate_argnums=(0, 1))
def train_step(params, opt_state, key, x):
    loss, grads = jax.value_and_grad(negative_elbo)(params, key, x)
    updates, opt_state = tx.update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state, loss


key, sub = jax.random.split(jax.random.key(SEED))
params = init(sub)
opt_state = tx.init(params)
for epoch in range(30):
    for idx in rng.permutation(1500).reshape(-1, 60):
        key, sub = jax.random.split(key)
        params, opt_state, loss = train_step(params, opt_state, sub, x_train[idx])
    if epoch % 5 == 0:
        print(f"epoch {epoch} loss {loss:.4f}")

rebuilt = jax.nn.sigmoid(decode(params, encode(params, x_test)[0]))
print("METRIC reconstruction_mse", float(jnp.mean((rebuilt - x_test) ** 2)))
