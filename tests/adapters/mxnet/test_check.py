"""`gradscope check` of unchanged scripts: every Trainer that steps is observed, hybridized nets from inside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mxnet")

MAIN = "from gradscope_cli.main import main; main()"
HEAD = """
import mxnet as mx, numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn
mx.random.seed(0)
np.random.seed(0)
x = nd.array(np.random.randn(256, 8))
y = nd.array((x.asnumpy() @ np.random.randn(8, 3)).argmax(1))
data = gluon.data.DataLoader(gluon.data.ArrayDataset(x, y), batch_size=32)
"""
NET = """
net = nn.HybridSequential()
for _ in range({depth}):
    net.add(nn.Dense(32, activation="{activation}"))
net.add(nn.Dense(3))
net.initialize(mx.init.Xavier())
net.hybridize(static_alloc=True)
"""
LOOP = """
trainer = gluon.Trainer(net.collect_params(), "{optimizer}", {{"learning_rate": {rate}}})
loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
for epoch in range({epochs}):
    for a, b in data:
        with autograd.record():
            loss = loss_function(net(a), b)
        loss.backward()
        trainer.step(len(a))
net(x)
net.export("net")
"""
WORKLOAD = """
import gradscope
def workload():
    net = nn.Sequential()
    net.add(nn.Dense(32, activation="relu"), nn.Dense(3))
    net.initialize(mx.init.Xavier())
    return gradscope.Workload(net, gluon.loss.SoftmaxCrossEntropyLoss(), data{optimizer})
"""


def program(
    depth: int = 2, activation: str = "relu", optimizer: str = "adam", rate: float = 0.01, epochs: int = 13
) -> str:
    """A script that trains a hybridized net."""
    return (
        HEAD
        + NET.format(depth=depth, activation=activation)
        + LOOP.format(optimizer=optimizer, rate=rate, epochs=epochs)
    )


def run(folder: Path, text: str, *more: str, target: str = "train.py") -> subprocess.CompletedProcess[str]:
    """`gradscope check` of a program, in a process of its own."""
    (folder / "train.py").write_text(text)
    (folder / "pyproject.toml").write_text("[tool.gradscope]\nsteps = 110\n")
    command = [sys.executable, "-W", "ignore", "-c", MAIN, "check", target, *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def check(folder: Path, text: str) -> dict[str, Any]:
    """The report on a program."""
    done = run(folder, text, "--format", "json", "--quiet")
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert not report.get("failures"), report["failures"]
    return report


def test_a_script_that_learns_is_healthy(tmp_path: Path) -> None:
    report = check(tmp_path, program())
    assert (report["status"], report["verdicts"]) == ("healthy", [])
    assert report["watched"]["framework"] == "mxnet"
    assert report["watched"]["steps"] == 104
    assert (tmp_path / "net-symbol.json").is_file()


def test_the_observation_ends_after_so_many_steps(tmp_path: Path) -> None:
    report = check(tmp_path, program(epochs=1000))
    assert report["watched"]["steps"] == 110


def test_a_net_whose_gradients_vanish_is_named_with_the_line_of_its_layer(tmp_path: Path) -> None:
    text = program(depth=8, activation="sigmoid", optimizer="sgd", rate=0.1, epochs=25)
    report = check(tmp_path, text)
    assert [v["name"] for v in report["verdicts"] if v["consequence_of"] is None] == ["vanishing-gradient"]
    line = text.splitlines().index('    net.add(nn.Dense(32, activation="sigmoid"))') + 1
    assert report["verdicts"][0]["source"].endswith(f"train.py:{line}")
    assert report["watched"]["limits"] == {}


@pytest.mark.parametrize("optimizer", ["", ", lambda p: gluon.Trainer(p, 'sgd', {'learning_rate': 0.5})"])
def test_a_workload_is_trained_afresh(tmp_path: Path, optimizer: str) -> None:
    report = check(tmp_path, HEAD + WORKLOAD.format(optimizer=optimizer))
    assert (report["status"], report["watched"]["steps"]) == ("healthy", 110)


def test_a_workload_needs_a_trainer(tmp_path: Path) -> None:
    done = run(tmp_path, HEAD + WORKLOAD.format(optimizer=", lambda p: 3"))
    assert done.returncode == 2
    assert "optimizer must build a mxnet.gluon.Trainer, got int" in done.stdout + done.stderr


def test_a_class_is_not_judged_at_initialization(tmp_path: Path) -> None:
    text = HEAD + "class Net(nn.HybridSequential):\n    pass\n"
    done = run(tmp_path, text, "--input-shape", "8", target="train.py::Net")
    assert done.returncode == 2
    assert "a net of MXNet is not judged at initialization: check its training script, or watch() it" in done.stderr


def test_recognizing_a_net_does_not_import_mxnet() -> None:
    code = "from gradscope_mxnet.plugin import MXNetAdapter; print(MXNetAdapter().recognizes(3))"
    code += "\nimport sys; print('mxnet' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nFalse\n"
