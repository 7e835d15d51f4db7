"""Heat gained or lost by a building per hour from weather and use."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)

n = 2000
outside = rng.normal(8, 9, n)
sun = np.clip(rng.normal(200, 180, n), 0, None)
wind = rng.gamma(2, 2, n)
people = rng.poisson(6, n)
gain = 0.004 * sun + 0.12 * people - 0.05 * (20 - outside) * (1 + 0.08 * wind) + rng.normal(0, 0.15, n)

features = np.stack([outside, sun, wind, people], axis=1)
features = (features - features.mean(0)) / features.std(0)
target = (gain - gain.mean()) / gain.std()
x, y = jnp.asarray(features, jnp.float32), jnp.asarray(target, jnp.float32)
x_train, y_train, x_test, y_test = x[:1600], y[:1600], x[1600:], y[1600:]


def init(key, sizes=(4, 32, 32, 1)):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (m, n)) * jnp.sqrt(2 / m), jnp.zeros(n))
        for k, m, n in zip(keys, sizes[:-1], sizes[1:])
    ]


def mlp(params, x):
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    return (x @ w + b).squeeze(-1)


def loss_fn(params, x, y):
    return optax.huber_loss(mlp(params, x), y).mean()


solver = optax.rmsprop(1e-3)


@jax.jit
def train_step(params, state, x, y):
    value, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, state = solver.update(grads, state)
    return optax.apply_updates(params, updates), state, value


params = init(jax.random.key(SEED))
state = solver.init(params)
for epoch in range(12):
    for batch in np.array_split(rng.permutation(1600), 40):
        params, state, value = train_step(params, state, x_train[batch], y_train[batch])
    if epoch % 3 == 0:
        print(f"[{epoch:02d}] huber {value:.4f}")

print("METRIC test_mae", float(jnp.abs(mlp(params, x_test) - y_test).mean()))
