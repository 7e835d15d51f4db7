"""Cold check of a class that was never trained, and the training of a Workload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gradscope import Settings
from gradscope.check import Outcome, check_cold, check_script
from gradscope.errors import CannotJudge, TargetError, UsageError

CLASSES = """\
import torch
from torch import nn

class Sigmoids(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(16, 16), nn.Sigmoid())], nn.Linear(16, 4))

    def forward(self, x):
        return self.layers(x)

class Good(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x):
        return self.layers(x)

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(50, 16), nn.Linear(16, 4)

    def forward(self, tokens):
        return self.out(self.embed(tokens).mean(1))

class Sequence(Tokens):
    def forward(self, tokens):
        return self.out(self.embed(tokens))

class Bare(nn.Module):
    def forward(self, x):
        return x

class Frozen(Good):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)

class Demanding(Good):
    def __init__(self, width):
        super().__init__()

class Dictionary(Good):
    def forward(self, x):
        return {"scores": super().forward(x)}

class NoModel:
    pass

def build():
    return Good()
"""


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with model classes."""
    file = tmp_path_factory.mktemp("cold") / "model.py"
    file.write_text(CLASSES)
    return file


def cold(file: Path, name: str, shape: tuple[int, ...] = (16,), number: int | None = 4) -> Outcome:
    """The outcome with default settings."""
    return check_cold(file, name, shape, number, Settings())


def test_a_stack_of_sigmoids_is_flagged_at_its_first_layer(classes: Path) -> None:
    report = cold(classes, "Sigmoids").report
    assert report.status == "unhealthy"
    assert {v.name for v in report.verdicts} == {"poor-initialization"}
    assert report.verdicts[0].module == "layers.0"
    assert report.verdicts[0].source == f"{classes}:7"


@pytest.mark.parametrize(
    ("name", "shape", "number"),
    [
        ("Good", (16,), 4),
        ("Good", (16,), None),
        ("Good", (3, 16), 4),
        ("Tokens", (7,), 4),
        ("Sequence", (7,), 4),
        ("Dictionary", (16,), 4),
        ("build", (16,), 4),
    ],
)
def test_a_good_network_is_healthy(classes: Path, name: str, shape: tuple[int, ...], number: int | None) -> None:
    report = cold(classes, name, shape, number).report
    assert (report.status, report.verdicts, dict(report.failures)) == ("healthy", (), {})


def test_the_gain_of_every_layer_is_told(classes: Path) -> None:
    layers = cold(classes, "Good").report.watched["layers"]
    assert [row["module"] for row in layers] == ["layers.0", "layers.2"]
    assert all(0.1 < row["forward_gain"] < 10 for row in layers)
    assert max(row["gradient"] for row in layers) == 1


@pytest.mark.parametrize(
    ("name", "shape", "number", "error"),
    [
        (
            "Good",
            (15,),
            4,
            (TargetError, r"Good does not take an input of shape \[64, 15\] .*--input-shape 15.*multiplied"),
        ),
        ("Good", (16,), 5, (TargetError, r"--classes 5: the output has shape \[64, 4\]")),
        ("Bare", (16,), 4, (CannotJudge, r"Bare has no parameter that requires a gradient")),
        ("Frozen", (16,), 4, (CannotJudge, r"the output carries no gradient")),
        ("Demanding", (16,), 4, (TargetError, r"model.py::Demanding: could not be built without arguments: TypeError")),
        ("Missing", (16,), 4, (TargetError, r"defines no 'Missing'; classes there: .*Good")),
        ("NoModel", (16,), 4, (UsageError, r"no adapter recognizes 'NoModel'")),
    ],
)
def test_what_cannot_be_judged_cold_says_why(
    classes: Path, name: str, shape: tuple[int, ...], number: int, error: tuple[type[Exception], str]
) -> None:
    kind, message = error
    with pytest.raises(kind, match=message):
        cold(classes, name, shape, number)


@pytest.mark.parametrize("name", ["Good", "Tokens"])
def test_the_global_random_stream_is_untouched(classes: Path, name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    cold(classes, name)
    assert torch.equal(before, torch.get_rng_state())


def test_a_cold_check_says_the_same_twice(classes: Path) -> None:
    assert cold(classes, "Sigmoids").report.as_dict() == cold(classes, "Sigmoids").report.as_dict()


# -- workloads ---------------------------------------------------------------------------------------------------------

WORKLOAD = """\
import torch
import gradscope

def workload():
    torch.manual_seed(0)
    weights = torch.randn(8, 1) / 8**0.5

    def batches():
        for _ in range(7):
            x = torch.randn(64, 8)
            yield x, x @ weights

    def build():
        return torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))

    def optimizer(parameters):
        return torch.optim.Adam(parameters, lr=RATE)

    return gradscope.Workload(model=MODEL, loss=torch.nn.functional.mse_loss, batches=BATCHES, optimizer=OPTIMIZER)
"""
Check = Callable[..., Outcome]


@pytest.fixture
def check_workload(tmp_path: Path) -> Check:
    """Checks the workload with some of its parts replaced."""

    def check(steps: int = 60, **parts: Any) -> Outcome:
        text = WORKLOAD
        defaults = {"MODEL": "build", "BATCHES": "batches", "OPTIMIZER": "optimizer", "RATE": "1e-2"}
        for name, value in (defaults | parts).items():
            text = text.replace(name, value)
        file = tmp_path / "work.py"
        file.write_text(text)
        return check_script(file, [], Settings(steps=steps))

    return check


def test_a_workload_is_trained_for_the_steps_asked_for(check_workload: Check) -> None:
    report = check_workload(60).report
    assert (report.status, report.watched["steps"]) == ("healthy", 60)


@pytest.mark.parametrize("parts", [{"MODEL": "build()"}, {"OPTIMIZER": "None"}, {"BATCHES": "list(batches())"}])
def test_a_workload_takes_models_lists_and_defaults(check_workload: Check, parts: dict[str, str]) -> None:
    outcome = check_workload(10, **parts)
    assert (outcome.failure, outcome.report.watched["steps"]) == (None, 10)


def test_the_illness_of_a_workload_is_found(check_workload: Check) -> None:
    assert check_workload(60, RATE="1e4").report.status == "unhealthy"


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"BATCHES": "[]"}, CannotJudge, r"workload\(\): batches gave none"),
        ({"BATCHES": "batches()"}, CannotJudge, r"workload\(\): batches gave none .*used up"),
        ({"BATCHES": "[torch.zeros(8)]"}, UsageError, r"a batch must be a pair \(input, target\), got Tensor"),
        ({"MODEL": "torch.nn.ReLU()"}, CannotJudge, r"ReLU has no parameter that requires a gradient"),
        ({"OPTIMIZER": "lambda p: 3"}, UsageError, r"optimizer must build a torch.optim.Optimizer, got int"),
        ({"MODEL": "3"}, UsageError, r"no adapter recognizes 'int'"),
    ],
)
def test_a_workload_that_cannot_be_trained_says_why(
    check_workload: Check, parts: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_workload(60, **parts)


def test_a_function_named_workload_must_return_one(tmp_path: Path) -> None:
    file = tmp_path / "work.py"
    file.write_text("import gradscope\ndef workload():\n    return 3\n")
    with pytest.raises(TargetError, match=r"workload\(\) must return a gradscope.Workload, got int"):
        check_script(file, [], Settings())
