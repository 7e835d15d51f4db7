"""`gradscope check` of a script that knows nothing of gradscope names the same origins as watch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gradscope import Origin, Settings
from gradscope.check import Outcome, check_script

HEAD = """\
import math
import torch
from torch import nn
torch.manual_seed(0)

class Fault(nn.Module):
    def forward(self, x):
        return {fault}  # planted

model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), Fault(), nn.Linear(8, 2))
optimizer = torch.optim.{optimizer}
for step in range(12):
    x = torch.randn(8, 6)
    y = torch.randn(8, 2)
    if {sick} and step == 3:
        {plant}
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
"""

Case = dict[str, Any]
CASES: dict[str, Case] = {
    "forward": {
        "fault": "x / x.abs().sum(-1, keepdim=True)",
        "plant": "x[2] = 0",
        "told": {"phase": "forward", "op": "div", "module": "2", "module_class": "Fault", "samples": (2,)},
    },
    "backward": {
        "fault": "x * x.square().sum(-1, keepdim=True).sqrt()",
        "plant": "x[2] = 0",
        "told": {"phase": "backward", "op": "sqrt", "module": "2", "parameter": "0.weight"},
    },
    "input": {
        "fault": "x",
        "plant": "x[5, 1] = math.nan",
        "told": {"phase": "input", "samples": (5,), "features": (1,)},
    },
    "loss": {
        "fault": "x",
        "plant": "y[5, 1] = math.nan",
        "told": {"phase": "loss", "op": "mse_loss", "culprit": "target", "samples": (5,), "module": "3"},
    },
    "parameter": {
        "fault": "x",
        "plant": "model[3].bias.data[1] = math.inf",
        "told": {"phase": "parameter", "parameter": "3.bias", "module": "3"},
    },
}
OPTIMIZERS = ["SGD(model.parameters(), lr=1e-2)", "AdamW(model.parameters(), lr=1e-3)"]


def checked(folder: Path, case: Case, *, sick: bool, optimizer: str = OPTIMIZERS[0]) -> Outcome:
    """What a check of the script of a case gives."""
    file = folder / "train.py"
    file.write_text(HEAD.format(fault=case["fault"], plant=case["plant"], sick=sick, optimizer=optimizer))
    return check_script(file, (), Settings(), quiet=True)


def origins(outcome: Outcome) -> list[Origin]:
    """Those of the verdicts on what is not finite."""
    assert outcome.failure is None
    assert not outcome.report.failures
    return [v.origin for v in outcome.report.verdicts if v.name.startswith("non-finite") and v.origin is not None]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "adamw"])
@pytest.mark.parametrize("case", CASES)
def test_a_check_names_the_origin(case: str, optimizer: str, tmp_path: Path) -> None:
    found = origins(checked(tmp_path, CASES[case], sick=True, optimizer=optimizer))
    assert found
    told = CASES[case]["told"] | {"step": 3}
    assert {name: getattr(found[0], name) for name in told} == told
    if case in {"forward", "backward"}:
        assert found[0].source == f"{tmp_path}/train.py:8"


@pytest.mark.parametrize("case", CASES)
def test_a_check_of_the_twin_names_none(case: str, tmp_path: Path) -> None:
    outcome = checked(tmp_path, CASES[case], sick=False)
    assert origins(outcome) == []
    assert not [v.name for v in outcome.report.verdicts if v.name.startswith("non-finite")]


def test_the_report_for_other_programs_carries_the_origin(tmp_path: Path) -> None:
    outcome = checked(tmp_path, CASES["forward"], sick=True)
    verdict = next(v for v in outcome.report.verdicts if v.name == "non-finite-loss")
    told = verdict.as_dict()["origin"]
    assert (told["phase"], told["op"], told["module"], told["samples"]) == ("forward", "div", "2", [2])
    assert told["shapes"][-1] == {"role": "output", "shape": [8, 8], "dtype": "float32", "finite": False}
    assert (verdict.module, verdict.step) == ("2", 3)
