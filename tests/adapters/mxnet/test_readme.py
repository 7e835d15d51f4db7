"""The lines that the README shows for MXNet work."""

from __future__ import annotations

import re
from pathlib import Path

import gradscope
import pytest

mx = pytest.importorskip("mxnet")

README = (Path(gradscope.__file__).parent.parent / "README.md").read_text("utf-8")


def test_the_lines_of_python_work() -> None:
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "autograd" in b]
    net = mx.gluon.nn.Dense(1, in_units=4)
    net.initialize()
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    x = mx.nd.random.normal(shape=(8, 4))
    names = {
        "net": net,
        "trainer": trainer,
        "data": [(x, x.sum(axis=1, keepdims=True))] * 6,
        "loss_function": mx.gluon.loss.L2Loss(),
        "autograd": mx.autograd,
    }
    exec(block, names)
    assert names["scope"].report().watched["steps"] == 6
