"""Small JAX programs, sick and sound, as texts."""

from __future__ import annotations

from pathlib import Path

from gradscope.check import Outcome, check_script
from gradscope.report import Report
from gradscope.settings import Settings

HEAD = """
import jax
import jax.numpy as jnp
import numpy as np
import optax

rng = np.random.default_rng(0)
X = rng.normal(size=(256, 8)).astype("float32")
line = X @ rng.normal(size=8).astype("float32")
label = (line > 0).astype("int32")

def dense(key, n_in, n_out):
    return {"w": jax.random.normal(key, (n_in, n_out)) * np.sqrt(2 / n_in), "b": jnp.zeros(n_out)}

def init(seed, *sizes):
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    return [dense(k, a, b) for k, a, b in zip(keys, sizes[:-1], sizes[1:])]

def mlp(params, x, act=jax.nn.relu):
    for p in params[:-1]:
        x = act(x @ p["w"] + p["b"])
    return x @ params[-1]["w"] + params[-1]["b"]

def batches(epochs, size=32):
    for _ in range(epochs):
        for at in range(0, 256, size):
            yield X[at:at + size], line[at:at + size], label[at:at + size]
"""
OPTAX = """
params = {params}
tx = {tx}
state = tx.init(params)

def loss_fn(params, x, y, c):
    return {loss}

@jax.jit
def step(params, state, x, y, c):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y, c)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss

for x, y, c in batches({epochs}):
    params, state, loss = step(params, state, {x}, {y}, c)
"""


def loop(
    *,
    params: str = "init(0, 8, 32, 32, 1)",
    tx: str = "optax.adam(1e-2)",
    loss: str = "jnp.mean((mlp(params, x)[:, 0] - y) ** 2)",
    epochs: int = 10,
    x: str = "x",
    y: str = "y",
) -> str:
    """A jitted loop with optax."""
    return OPTAX.format(params=params, tx=tx, loss=loss, epochs=epochs, x=x, y=y)


def run(tmp_path: Path, body: str, steps: int = 100) -> Outcome:
    """Checks a program, in this process."""
    file = tmp_path / "train.py"
    file.write_text(HEAD + body)
    outcome = check_script(file, [], Settings(steps=steps), quiet=True)
    assert outcome.failure is None, outcome.failure
    return outcome


def check(tmp_path: Path, body: str, steps: int = 100) -> Report:
    """The report on a program."""
    return run(tmp_path, body, steps).report


def names(report: Report) -> list[str]:
    """The names of errors and warnings, in their order."""
    return [v.name for v in report.verdicts if v.severity != "info"]
