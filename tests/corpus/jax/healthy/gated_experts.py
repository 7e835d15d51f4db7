"""A sparse mixture: each sample goes to one of six experts, the others get nothing from it (equinox)."""
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
EXPERTS = 6
rng = np.random.default_rng(SEED)


def batch(n):
    x = rng.uniform(-3, 3, (n, 2)).astype(np.float32)
    y = np.where(x[:, 0] > 1, np.sin(3 * x[:, 1]), np.where(x[:, 0] < -1, x[:, 1] ** 2 / 4, -x[:, 1] / 2))
    return x, y.astype(np.float32)


class Mixture(eqx.Module):
    gate: eqx.nn.MLP
    experts: eqx.nn.MLP

    def __init__(self, key):
        k1, k2 = jax.random.split(key)
        self.gate = eqx.nn.MLP(2, EXPERTS, 16, 1, key=k1)
        make = eqx.filter_vmap(lambda k: eqx.nn.MLP(2, "scalar", 24, 2, activation=jax.nn.gelu, key=k))
        self.experts = make(jax.random.split(k2, EXPERTS))

    def __call__(self, x):
        gates = jax.nn.softmax(self.gate(x))
        chosen = jnp.argmax(gates)
        outputs = eqx.filter_vmap(lambda e: e(x))(self.experts)
        return outputs[chosen] * gates[chosen], gates


@eqx.filter_value_and_grad(has_aux=True)
def loss_fn(model, x, y):
    prediction, gates = jax.vmap(model)(x)
    error = jnp.mean((prediction - y) ** 2)
    load = jax.nn.one_hot(gates.argmax(-1), EXPERTS).mean(0)
    return error + 0.01 * EXPERTS * jnp.sum(load * gates.mean(0)), error


model = Mixture(jax.random.key(SEED))
tx = optax.adam(5e-3)
opt_state = tx.init(eqx.filter(model, eqx.is_inexact_array))


@eqx.filter_jit
def train_step(model, opt_state, x, y):
    (_, error), grads = loss_fn(model, x, y)
    updates, opt_state = tx.update(grads, opt_state)
    return eqx.apply_updates(model, updates), opt_state, error


for step in range(800):
    model, opt_state, error = train_step(model, opt_state, *batch(128))
    if step % 100 == 0:
        print(f"step {step} mse {error:.5f}")
x, y = batch(1000)
print("METRIC test_mse", float(jnp.mean((jax.vmap(model)(x)[0] - y) ** 2)))
