"""file:line of the code that created a module: seen while it was built, or read in the text of its class."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import gradscope
import pytest
import torch
from gradscope import Settings
from gradscope.check import check_script
from torch import nn

from tests.adapters.torch.training import batches, in_session, sgd, train

SCRIPT = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 8)  # body
        self.unused = nn.Linear(8, 8)  # unused
        self.blocks = nn.ModuleList(
            [nn.Linear(8, 8) for _ in range(2)]  # blocks
        )
        self.out = nn.Linear(8, 1)  # out

    def forward(self, x):
        x = self.body(x).relu()
        for block in self.blocks:
            x = block(x).relu()
        return self.out(x)

model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for _ in range(12):
    optimizer.zero_grad()
    x = torch.randn(16, 4)
    torch.nn.functional.mse_loss(model(x), x[:, :1]).backward()
    optimizer.step()
"""


def line_of(text: str, marker: str) -> int:
    """The number of the one line that ends with the comment."""
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.endswith(f"# {marker}"))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The script and what a check of it gave."""
    file = tmp_path_factory.mktemp("sources") / "train.py"
    file.write_text(SCRIPT)
    return file, check_script(file, [], Settings(), quiet=True)


def test_a_verdict_points_at_the_line_that_created_the_module(checked: tuple[Path, Any]) -> None:
    file, outcome = checked
    verdict = next(v for v in outcome.report.verdicts if v.name == "missing-gradient")
    assert (verdict.module, verdict.source) == ("unused", f"{file}:{line_of(SCRIPT, 'unused')}")


@pytest.mark.parametrize(
    ("module", "marker"),
    [("body", "body"), ("unused", "unused"), ("blocks.0", "blocks"), ("blocks.1", "blocks"), ("out", "out")],
)
def test_every_module_of_a_checked_script_has_its_line(checked: tuple[Path, Any], module: str, marker: str) -> None:
    file, outcome = checked
    assert outcome.scope.histories[0].source_of(module) == f"{file}:{line_of(SCRIPT, marker)}"


class Plain(nn.Module):
    """Its layers are assigned in the ordinary way, and in less ordinary ones."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)  # assigned
        self.middle: nn.Linear = nn.Linear(8, 8)  # annotated
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)  # together
        self.out = nn.Sequential(nn.Linear(8, 1))  # inside a Sequential

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(self.second(self.first(self.middle(self.body(x).relu()))))


class Heir(Plain):
    """Its layers are assigned by its base."""


class Outer:
    """Holds a class, so that the text of that is indented."""

    class Inner(nn.Module):
        """Indented."""

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 1)  # indented

        def forward(self, x: torch.Tensor) -> Any:
            return self.body(x)


def watched_source(model: nn.Module, module: str) -> str | None:
    """The source of a module under watch()."""
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        train(model, optimizer, 2)
    return scope.histories[0].source_of(module)


TEXT = Path(__file__).read_text()


@pytest.mark.parametrize(
    ("build", "module", "marker"),
    [
        (Plain, "body", "assigned"),
        (Plain, "middle", "annotated"),
        (Plain, "second", "together"),
        (Plain, "out.0", "inside a Sequential"),
        (Heir, "body", "assigned"),
        (Outer.Inner, "body", "indented"),
    ],
)
def test_the_line_is_read_in_the_text_of_the_class_under_watch(build: Any, module: str, marker: str) -> None:
    assert watched_source(build(), module) == f"{__file__}:{line_of(TEXT, marker)}"


def test_a_loss_call_is_named_with_its_line() -> None:
    model = nn.Linear(4, 1)
    optimizer = sgd(model)
    x, y = next(batches(1))

    def loop() -> None:
        nn.functional.mse_loss(model(x), y).backward()  # loss
        optimizer.step()

    scope = in_session(loop)
    assert [s.source for s in scope.histories[0]["loss"].subjects] == [f"{__file__}:{line_of(TEXT, 'loss')}"]


def test_a_model_whose_text_cannot_be_read_has_no_source() -> None:
    names: dict[str, Any] = {"nn": nn}
    exec(inspect.cleandoc(SCRIPT.partition("model = Net()")[0].replace("blocks:", "blocks:")), names)
    assert watched_source(names["Net"](), "body") is None
