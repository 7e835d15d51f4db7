"""Textures by a conv net with batch normalization: biases before a norm get no gradient (flax linen)."""
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state

SEED = int(os.environ.get("SEED", 0))
rng = np.random.default_rng(SEED)


def textures(n):
    kind = rng.integers(0, 4, n)
    angle = kind * np.pi / 4 + rng.normal(0, 0.1, n)
    yy, xx = np.mgrid[:12, :12]
    phase = rng.uniform(0, 6.3, n)[:, None, None]
    wave = np.sin(1.4 * (np.cos(angle)[:, None, None] * xx + np.sin(angle)[:, None, None] * yy) + phase)
    return (wave + rng.normal(0, 0.7, wave.shape))[..., None].astype(np.float32), kind


class TrainState(train_state.TrainState):
    batch_stats: Any


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        for features in (12, 24):
            x = nn.Conv(features, (3, 3))(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
            x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(4)(x.reshape((x.shape[0], -1)))


@jax.jit
def train_step(state, x, y):
    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, updates = state.apply_fn(variables, x, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), updates

    (loss, updates), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads, batch_stats=updates["batch_stats"]), loss


model = Net()
variables = model.init(jax.random.key(SEED), jnp.ones((1, 12, 12, 1)), train=False)
state = TrainState.create(apply_fn=model.apply, params=variables["params"], batch_stats=variables["batch_stats"],
                          tx=optax.sgd(0.05, momentum=0.9))
for step in range(250):
    state, loss = train_step(state, *textures(48))
    if step % 50 == 0:
        print(f"step {step} loss {loss:.4f}")
x, y = textures(600)
logits = model.apply({"params": state.params, "batch_stats": state.batch_stats}, x, train=False)
print("METRIC accuracy", float((logits.argmax(-1) == y).mean()))
