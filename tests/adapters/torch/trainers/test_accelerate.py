"""gradscope.watch() with Accelerate's wrappers around model and optimizer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")

import gradscope
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from gradscope import Scope
from torch import nn

from tests.adapters.torch.training import batches, mlp

pytestmark = [pytest.mark.usefixtures("nowhere"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    """Accelerate's states are shared by the process: each test has its own."""
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def trained(
    *, prepared: bool = True, accumulated: int = 1, clip: float | None = None, precision: str = "no", rate: float = 0.05
) -> Scope:
    """The closed scope of 80 batches; watched as they are before or after prepare()."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulated, mixed_precision=precision)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    scope = None if prepared else gradscope.watch(model, optimizer)
    model, optimizer = accelerator.prepare(model, optimizer)
    scope = scope or gradscope.watch(model, optimizer)
    with scope:
        for x, y in batches(80):
            with accelerator.accumulate(model):
                accelerator.backward(nn.functional.mse_loss(model(x), y))
                if clip is not None and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad()
    return scope


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_prepared_or_not_it_is_watched(prepared: bool, precision: str) -> None:
    scope = trained(prepared=prepared, precision=precision)
    report = scope.report()
    assert (report.status, report.watched["steps"], len(scope.histories)) == ("healthy", 80, 1)
    assert report.watched["limits"] == {}


@pytest.mark.parametrize("prepared", [True, False])
def test_gradients_are_judged_where_they_are_used(prepared: bool) -> None:
    history = trained(prepared=prepared, accumulated=4).histories[0]
    assert history.run("backward_passes").tolist() == [4.0] * 20
    assert history.run("carried_over").tolist()[1:] == [0.0] * 19


def test_clipping_is_seen() -> None:
    history = trained(accumulated=2, clip=0.5).histories[0]
    assert history.run("clip_limit").tolist() == [0.5] * 40
    norms = history["gradient"].column("gradient_norm")
    assert float((norms**2).sum(1).max()) ** 0.5 == pytest.approx(0.5, rel=1e-4)


def test_a_rate_that_is_too_large_is_named() -> None:
    assert trained(rate=50.0).report().verdicts[0].name == "oversized-update"


def test_nothing_is_left_on_the_optimizer_inside() -> None:
    accelerator = Accelerator(cpu=True)
    plain = mlp()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05)
    model, wrapped = accelerator.prepare(plain, optimizer)
    scope = gradscope.watch(model, wrapped)
    assert optimizer._optimizer_step_pre_hooks
    scope.close()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
