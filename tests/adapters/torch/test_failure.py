"""A program that fails inside a module: the report names the module, where it was made, and the shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from gradscope.check import Outcome, check_script
from gradscope.settings import Settings

LAYERS = """\
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 4)
        self.out = nn.Linear(5, 1)
    def forward(self, x, scale=None):
        h = self.hidden(x)
        return self.out(h) if scale is None else h @ scale
model = Net()
"""


@pytest.fixture
def check(tmp_path: Path):
    def check(text: str) -> Outcome:
        file = tmp_path / "train.py"
        file.write_text(text)
        return check_script(file, (), Settings(), quiet=True)

    return check


def test_a_layer_that_does_not_fit_is_named_with_its_shapes(check, tmp_path: Path) -> None:
    outcome = check(LAYERS + "model(torch.zeros(3, 8))\n")
    where = f"layer 'out' (Linear) at {tmp_path}/train.py:7, given (3, 4), weight (1, 5), bias (1,)"
    assert outcome.failure.splitlines()[-1] == f"in {where}"
    assert outcome.report.cannot.startswith(
        f"the script raised RuntimeError before any optimizer step, in {where}: mat1 and mat2 shapes"
    )


def test_what_fails_in_a_forward_of_the_users_own_names_that_module(check, tmp_path: Path) -> None:
    outcome = check(LAYERS + "model(torch.zeros(3, 8), scale=torch.zeros(7, 2))\n")
    assert outcome.failure.splitlines()[-1] == f"in model Net at {tmp_path}/train.py:11, given (3, 8) (7, 2)"


def test_what_fails_outside_of_every_module_names_none(check) -> None:
    outcome = check(LAYERS + "h = model.hidden(torch.zeros(3, 8))\nh @ h\n")
    assert outcome.failure.splitlines()[-1].startswith("RuntimeError: mat1 and mat2")
    assert ", in " not in outcome.report.cannot


def test_an_error_that_the_program_handles_leaves_no_trace(check) -> None:
    handled = "try:\n    model(torch.zeros(3, 8))\nexcept RuntimeError:\n    pass\nraise ValueError('no data')\n"
    outcome = check(LAYERS + handled)
    assert outcome.report.cannot == "the script raised ValueError before any optimizer step: no data"
