"""Flax (linen and nnx) and equinox: names, layers, statistics that change beside the parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("jax")
pytest.importorskip("optax")

from tests.adapters.jax.programs import names, run

LINEN = """
from flax import linen as nn
from flax.training import train_state

class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Conv(4, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.gelu(nn.Dense(16)(x.reshape(len(x), -1)))
        x = nn.LayerNorm()(nn.Dropout(0.1, deterministic=not train)(x))
        return nn.Dense(2)(x)

class State(train_state.TrainState):
    batch_stats: dict

images = X.reshape(256, 4, 2, 1)
net = Net()
made = net.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, images[:2])
state = State.create(apply_fn=net.apply, params=made["params"], batch_stats=made["batch_stats"], tx=optax.adamw(3e-3))

@jax.jit
def step(state, x, c, key):
    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        out, new = state.apply_fn(variables, x, mutable=["batch_stats"], rngs={"dropout": key})
        return optax.softmax_cross_entropy(out, jax.nn.one_hot(c, 2)).mean(), new
    (loss, new), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads).replace(batch_stats=new["batch_stats"]), loss

for i, (x, y, c) in enumerate(batches(10)):
    state, loss = step(state, x.reshape(32, 4, 2, 1), c, jax.random.key(i))
"""
NNX = """
from flax import nnx

class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(8, 32, rngs=rngs)
        self.norm = nnx.BatchNorm(32, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.last = nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))

net = Net(nnx.Rngs(0))
optimizer = nnx.Optimizer(net, optax.sgd(0.05, momentum=0.9), wrt=nnx.Param)

@nnx.jit
def step(net, optimizer, x, y):
    loss, grads = nnx.value_and_grad(lambda net: jnp.mean((net(x)[:, 0] - y) ** 2))(net)
    optimizer.update(net, grads)
    return loss

for x, y, c in batches(10):
    step(net, optimizer, x, y)
"""
EQUINOX = """
import equinox as eqx

net = eqx.nn.MLP(8, "scalar", 32, 2, key=jax.random.key(0))
tx = optax.adam(3e-3)
state = tx.init(eqx.filter(net, eqx.is_inexact_array))

@eqx.filter_value_and_grad
def loss_fn(net, x, y):
    return jnp.mean((jax.vmap(net)(x) - y) ** 2)

@eqx.filter_jit
def step(net, state, x, y):
    loss, grads = loss_fn(net, x, y)
    updates, state = tx.update(grads, state, eqx.filter(net, eqx.is_inexact_array))
    return eqx.apply_updates(net, updates), state, loss

for x, y, c in batches(10):
    net, state, loss = step(net, state, x, y)
"""
STACKED = """
params = {
    "inp": jax.random.normal(jax.random.key(0), (8, 16)) * 0.3,
    "layers": {"w": jax.random.normal(jax.random.key(1), (4, 16, 16)) * 0.25, "b": jnp.zeros((4, 16))},
    "out": jax.random.normal(jax.random.key(2), (16, 1)) * 0.25,
}

def loss_fn(params, x, y):
    h, _ = jax.lax.scan(
        lambda h, p: (h + jnp.tanh(h @ p["w"] + p["b"]), None), jnp.tanh(x @ params["inp"]), params["layers"]
    )
    return jnp.mean(((h @ params["out"])[:, 0] - y) ** 2)

tx = optax.adam(3e-3)
state = tx.init(params)
for x, y, c in batches(10):
    grads = jax.jit(jax.grad(loss_fn))(params, x, y)
    updates, state = tx.update(grads, state)
    params = optax.apply_updates(params, updates)
"""
EXPECTED = {
    "flax.linen": (LINEN, ["Conv_0", "BatchNorm_0", "Dense_0", "LayerNorm_0", "Dense_1"], "Conv_0.kernel"),
    "flax.nnx": (NNX, ["first", "norm", "last"], "first.kernel"),
    "equinox": (EQUINOX, ["layers.0", "layers.1", "layers.2"], "layers.0.weight"),
    "stacked": (STACKED, ["inp", "layers.0", "layers.1", "layers.2", "layers.3", "out"], "layers.2.w"),
}


@pytest.mark.parametrize("library", EXPECTED)
def test_layers_and_parameters_have_the_names_of_the_library(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library if "." in library or library == "equinox" else "jax")
    body, layers, parameter = EXPECTED[library]
    outcome = run(tmp_path, body)
    assert (outcome.report.status, names(outcome.report)) == ("healthy", [])
    assert outcome.scope is not None and not outcome.scope.failures
    history = outcome.scope.histories[0]
    table = history["module"]
    order = table.column("order")[0]
    found = [s.name for s in sorted(table.subjects, key=lambda s: order[table.index(s.name)])]
    assert [name for name in found if " > " not in name and name != "output"] == layers
    assert parameter in [s.name for s in history["gradient"].subjects]
    assert set(history.facts["called"]) == set(layers)


def test_a_variance_that_is_kept_above_zero_is_no_relu(tmp_path: Path) -> None:
    pytest.importorskip("flax")
    history = run(tmp_path, LINEN, steps=10).scope.histories[0]  # type: ignore[union-attr]
    assert [s.name for s in history["module"].subjects if " > " in s.name] == ["BatchNorm_0 > relu"]


def test_layers_that_are_stacked_have_numbers_of_their_own(tmp_path: Path) -> None:
    history = run(tmp_path, STACKED, steps=10).scope.histories[0]  # type: ignore[union-attr]
    table = history["gradient"]
    shapes = {s.name: s.traits["shape"] for s in table.subjects}
    assert shapes["layers.3.w"] == (16, 16)
    first, last = (table.series("gradient_norm", f"layers.{i}.w") for i in (0, 3))
    assert (first > 0).all() and (first != last).any()
