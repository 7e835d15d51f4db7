"""Forecast of the next water level from the last day, with equinox."""
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
WINDOW, BATCH, EPOCHS = 24, 32, 15

rng = np.random.default_rng(SEED)
hours = np.arange(2000)
level = (np.sin(2 * np.pi * hours / 12.42) + 0.5 * np.sin(2 * np.pi * hours / 23.93 + 1)
         + 0.3 * np.sin(2 * np.pi * hours / 6.21 + 2) ** 3 + rng.normal(0, 0.03, 2000))
windows = np.lib.stride_tricks.sliding_window_view(level, WINDOW + 6).astype(np.float32)
x_all, y_all = windows[:, :WINDOW], windows[:, -1]
x_train, y_train, x_test, y_test = x_all[:1500], y_all[:1500], x_all[1530:], y_all[1530:]
steps_per_epoch = len(x_train) // BATCH


class Forecaster(eqx.Module):
    layers: list

    def __init__(self, key):
        k1, k2, k3 = jax.random.split(key, 3)
        self.layers = [eqx.nn.Linear(WINDOW, 48, key=k1), jax.nn.gelu, eqx.nn.Linear(48, 48, key=k2), jax.nn.gelu,
                       eqx.nn.Linear(48, "scalar", key=k3)]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


model = Forecaster(jax.random.key(SEED))
# the rate falls to a tenth every few epochs
schedule = optax.exponential_decay(
    init_value=0.02,
    transition_steps=4 * steps_per_epoch,
    decay_rate=0.1,
)
optimizer = optax.sgd(schedule, momentum=0.9)
opt_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))


@eqx.filter_value_and_grad
def loss_fn(model, x, y):
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


@eqx.filter_jit
def make_step(model, opt_state, x, y):
    loss, grads = loss_fn(model, x, y)
    updates, opt_state = optimizer.update(grads, opt_state)
    return eqx.apply_updates(model, updates), opt_state, loss


for epoch in range(EPOCHS):
    perm = rng.permutation(len(x_train))
    for i in range(steps_per_epoch):
        idx = perm[i * BATCH:(i + 1) * BATCH]
        model, opt_state, loss = make_step(model, opt_state, x_train[idx], y_train[idx])
    print(f"epoch {epoch} loss {loss:.5f}")

mse = float(jnp.mean((jax.vmap(model)(x_test) - y_test) ** 2))
print("METRIC test_mse", mse)
