"""Keras on torch and on JAX: watched and checked, without TensorFlow; a process each, for a backend is chosen once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras")
ROOT = Path(__file__).parents[3]


def run(backend: str, *command: str) -> str:
    """What a program prints with that backend."""
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode in {0, 1}, done.stderr[-2000:]
    return done.stdout


def trained(backend: str, case: str) -> dict[str, Any]:
    """What backend_program.py tells of a case."""
    pytest.importorskip(backend)
    printed = run(backend, sys.executable, str(Path(__file__).with_name("backend_program.py")), case)
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    assert found["failures"] == {}
    return found


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_watched_model_trains_bit_for_bit_the_same(backend: str) -> None:
    found = trained(backend, "plain")
    assert (found["equal"], found["status"], found["steps"], found["objectives"]) == (True, "healthy", 56, 1)
    assert found["after"] == found["steps"], "close() left something"
    assert (found["names"][0], found["measured"]) == ("dense.kernel", 7)
    assert all(norm > 0 for norm in found["norms"])
    assert all(loss > 0 for loss in found["losses"])
    assert bool(found["modules"]) == (backend == "torch")
    assert ("activations" in found["limits"]) == (backend == "jax")


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_steps_that_a_loss_scaler_skips_are_told_apart(backend: str) -> None:
    found = trained(backend, "overflowing")
    assert (found["equal"], found["status"], found["steps"]) == (True, "healthy", 56)
    assert 0 < sum(found["skipped"]) < 28
    assert all(0 < norm < 1e3 for norm in found["norms"]), "the norms are not those of unscaled gradients"


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_accumulated_gradients_are_judged_at_the_step_that_they_make(backend: str) -> None:
    found = trained(backend, "accumulating")
    assert (found["equal"], found["steps"]) == (True, 14)
    assert all(0 < loss < 1e3 for loss in found["losses"])


CHECKED = """
import keras
import numpy as np
rng = np.random.default_rng(0)
keras.utils.set_random_seed(0)
x = rng.normal(size=(512, 8)).astype("float32")
y = (x @ rng.normal(size=(8, 1))).astype("float32")
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam({rate}), loss="mse")
model.fit(x, y, epochs=6, batch_size=32, verbose=0)
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize(("rate", "expected"), [("1e-2", []), ("1e-8", ["undersized-update"])])
def test_a_script_is_checked_once(backend: str, rate: str, expected: list[str], tmp_path: Path) -> None:
    pytest.importorskip(backend)
    file = tmp_path / "train.py"
    file.write_text(CHECKED.format(rate=rate))
    printed = run(backend, sys.executable, "-m", "gradscope_cli", "check", str(file), "--format", "json", "--quiet")
    found = json.loads(printed)
    assert found["failures"] == {}
    assert [o["steps"] for o in found["watched"]["objectives"]] == [96]
    assert {v["name"] for v in found["verdicts"]} >= set(expected)
    if not expected:
        assert found["status"] == "healthy"


def test_a_backend_that_cannot_be_observed_is_told_and_is_not_healthy(tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_text("import keras\n")
    environment = os.environ | {"KERAS_BACKEND": "numpy", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gradscope_cli", "check", str(file), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert "Keras runs on numpy, where no training can be observed" in done.stdout + done.stderr
