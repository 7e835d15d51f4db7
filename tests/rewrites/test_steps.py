"""Remedies written around the backward pass and the step: cleared, clipped and scheduled where it belongs."""

import pytest
from gradscope.errors import CannotApply

from tests.rewrites.writing import changes, treated

HEAD = "import torch\nmodel = Net()\nopt = torch.optim.SGD(model.parameters(), lr=0.1)\n"
HEAD += "for i, (x, y) in enumerate(data):\n"
CLEARED = [
    (
        "    a.backward()\n    b.backward()\n    opt.step()\n",
        "    >\n    a.backward()\n    b.backward()\n    opt.step()\n",
    ),
    (
        "    for part in x:\n        f(part).backward()\n    opt.step()\n",
        "    >\n    for part in x:\n        f(part).backward()\n    opt.step()\n",
    ),
    (
        "    f(x).backward()\n    if i % 4 == 3:\n        opt.step()\n",
        "    f(x).backward()\n    if i % 4 == 3:\n        opt.step()\n        >\n",
    ),
    (
        "    if extra:\n        a.backward()\n    b.backward()\n    opt.step()\n",
        "    >\n    if extra:\n        a.backward()\n    b.backward()\n    opt.step()\n",
    ),
    (
        "    a.backward()\n    opt.step()\n    b.backward()\n    opt.step()\n",
        "    >\n    a.backward()\n    opt.step()\n    >\n    b.backward()\n    opt.step()\n",
    ),
    (
        "    if half:\n        scaler.scale(a).backward()\n        scaler.step(opt)\n"
        "    else:\n        a.backward()\n        opt.step()\n",
        "    if half:\n        >\n        scaler.scale(a).backward()\n        scaler.step(opt)\n"
        "    else:\n        >\n        a.backward()\n        opt.step()\n",
    ),
]


@pytest.mark.parametrize(("body", "expected"), CLEARED)
def test_gradients_are_cleared_once_for_each_step(body, expected):
    assert treated("add-zero-grad", HEAD + body) == HEAD + expected.replace(">", "opt.zero_grad()")


def test_scaled_gradients_are_unscaled_before_they_are_clipped():
    text = HEAD + "    scaler.scale(f(x)).backward()\n    scaler.step(opt)\n    scaler.update()\n"
    clip = "torch.nn.utils.clip_grad_norm_(model.parameters(), 2)"
    found = treated("clip-gradient-norm", text, {"max_norm": 2.0})
    assert changes(text, found) == ["scaler.unscale_(opt)", clip]
    assert found.index("unscale_") < found.index("clip_grad") < found.index("scaler.step")
    again = text.replace("    scaler.step", "    scaler.unscale_(opt)\n    scaler.step")
    assert changes(again, treated("clip-gradient-norm", again, {"max_norm": 2.0})) == [clip]


TWO = """import torch
opt_g = torch.optim.Adam(g.parameters(), lr=1e-3)
opt_d = torch.optim.Adam(d.parameters(), lr=1e-3)
for x in data:
    loss_d(x).backward()
    opt_d.step()
    loss_g(x).backward()
    opt_g.step()
"""


def test_a_schedule_follows_the_steps_of_its_own_optimizer():
    found = treated("warm-up", TWO, {"steps": 5})
    assert "    opt_g.step()\n    schedule.step()\n" in found
    assert found.count("schedule.step()") == 1


def test_a_schedule_that_the_stepping_function_would_not_know_is_not_written():
    text = (
        "import torch\ndef main():\n    opt = torch.optim.SGD(model.parameters(), lr=1)\n    train(opt)\n"
        "def train(opt):\n    opt.zero_grad()\n    f().backward()\n    opt.step()\n"
    )
    with pytest.raises(CannotApply, match="made in one function and steps in another"):
        treated("warm-up", text, {"steps": 5})
