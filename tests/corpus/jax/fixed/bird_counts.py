"""Expected number of birds per site: a Poisson regression net with its own chain of transformations."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)
n = 2000
habitat = rng.normal(size=(n, 6)).astype(np.float32)
rate = np.exp(0.5 + 0.6 * habitat[:, 0] - 0.5 * habitat[:, 1] * habitat[:, 2] + 0.3 * np.sin(2 * habitat[:, 3]))
rate = np.minimum(rate, 30)
birds = rng.poisson(rate).astype(np.float32)
train, test = np.arange(1600), np.arange(1600, n)


def init(key):
    k = jax.random.split(key, 3)
    xavier = jax.nn.initializers.glorot_uniform()
    return [
        {"kernel": xavier(k[0], (6, 40)), "bias": jnp.zeros(40)},
        {"kernel": xavier(k[1], (40, 40)), "bias": jnp.zeros(40)},
        {"kernel": xavier(k[2], (40, 1)), "bias": jnp.zeros(1)},
    ]


def log_rate(params, x):
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"])
    return (x @ params[-1]["kernel"] + params[-1]["bias"])[:, 0]


def poisson_nll(params, x, count):
    z = log_rate(params, x)
    return jnp.mean(jnp.exp(z) - count * z)


schedule = optax.cosine_decay_schedule(5e-3, 800)
optimizer = optax.chain(
    optax.scale_by_adam(),
    optax.scale_by_schedule(lambda step: -schedule(step)),
)


@jax.jit
def update(params, state, x, count):
    loss, grads = jax.value_and_grad(poisson_nll)(params, x, count)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


params = init(jax.random.key(SEED))
state = optimizer.init(params)
for epoch in range(16):
    for idx in rng.permutation(train).reshape(-1, 40):
        params, state, loss = update(params, state, habitat[idx], birds[idx])
    if epoch % 4 == 0:
        print(f"epoch {epoch} nll {loss:.4g}")

error = jnp.abs(jnp.exp(jnp.minimum(log_rate(params, habitat[test]), 10)) - rate[test]).mean()
print("METRIC rate_mae", float(error))
