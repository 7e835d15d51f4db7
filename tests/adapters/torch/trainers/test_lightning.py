"""GradscopeCallback in Lightning's own Trainer: what is seen, stopped, shown and left behind."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")

import torch
from gradscope.errors import NonFiniteError, UsageError
from torch import nn

from gradscope_torch import patches
from gradscope_torch.lightning import GradscopeCallback
from tests.adapters.torch.trainers.lightning_modules import (
    Failing,
    Pair,
    Poisoned,
    PoisonedByHand,
    Regressor,
    data,
    fitted,
    trainer,
)

pytestmark = [
    pytest.mark.usefixtures("nowhere"),
    pytest.mark.filterwarnings("ignore"),  # Lightning has much to say of loaders with few workers
]


def column(callback: GradscopeCallback, quantity: str) -> list[float]:
    """What was noted of the run in every step."""
    fitting = callback._fitting
    assert fitting is not None
    assert fitting.scope is not None
    values: list[float] = fitting.scope.histories[0].run(quantity).tolist()
    return values


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_a_healthy_fit_is_healthy(tmp_path: Path) -> None:
    report = fitted(tmp_path).report
    assert (report.status, report.verdicts, report.watched["steps"]) == ("healthy", (), 32)
    assert report.watched["limits"] == {}


def test_a_fit_with_too_large_a_rate_is_named(tmp_path: Path) -> None:
    report = fitted(tmp_path, Regressor(rate=50.0)).report
    assert (report.verdicts[0].name, report.verdicts[0].module) == ("oversized-update", "net.2")


def test_sanity_validation_and_validation_are_no_steps(tmp_path: Path) -> None:
    callback = fitted(tmp_path, num_sanity_val_steps=4, val_check_interval=5)
    assert len(column(callback, "loss")) == 32


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    callback = fitted(tmp_path, accumulate_grad_batches=4)
    assert column(callback, "backward_passes") == [4.0] * 8
    assert column(callback, "carried_over")[1:] == [0.0] * 7


def test_clipping_is_seen(tmp_path: Path) -> None:
    callback = fitted(tmp_path, gradient_clip_val=0.5)
    assert column(callback, "clip_limit") == [0.5] * 32
    assert max(column(callback, "clip_before")) > 1


def test_mixed_precision_is_watched(tmp_path: Path) -> None:
    report = fitted(tmp_path, precision="bf16-mixed").report
    assert (report.status, report.watched["steps"]) == ("healthy", 32)


def test_optimizers_stepped_by_hand_are_all_watched(tmp_path: Path) -> None:
    report = fitted(tmp_path, Pair()).report
    assert report.status == "healthy"
    assert [(o["name"], o["steps"]) for o in report.watched["objectives"]] == [("Adam 1", 32), ("Adam 2", 32)]


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    def weights(*callbacks: Any) -> list[torch.Tensor]:
        torch.manual_seed(0)
        module = Regressor()
        trainer(tmp_path, *callbacks, gradient_clip_val=0.5).fit(module, data(), data())
        return list(module.parameters())

    pairs = zip(weights(), weights(GradscopeCallback(show=None)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_an_error_stops_the_training_when_asked(tmp_path: Path) -> None:
    callback = fitted(tmp_path, Regressor(rate=50.0), wishes={"stop_on": "error", "judge_every": 10})
    assert callback.report.watched["steps"] == 10


def test_an_error_stops_nothing_unasked(tmp_path: Path) -> None:
    assert fitted(tmp_path, Regressor(rate=50.0), wishes={"judge_every": 10}).report.watched["steps"] == 32


def test_a_healthy_training_is_not_stopped(tmp_path: Path) -> None:
    assert fitted(tmp_path, wishes={"stop_on": "warning", "judge_every": 5}).report.watched["steps"] == 32


# -- accidents ---------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_raises_when_asked(tmp_path: Path) -> None:
    module = Poisoned()
    with pytest.raises(NonFiniteError):
        fitted(tmp_path, module, wishes={"on_nonfinite": "raise"})
    assert all(p.isfinite().all() for p in module.parameters())
    assert not patches.LISTENERS


@pytest.mark.parametrize("module", [Poisoned, PoisonedByHand])
def test_a_step_that_is_not_finite_is_skipped_when_asked(tmp_path: Path, module: type[Regressor]) -> None:
    trained = module()
    callback = fitted(tmp_path, trained, wishes={"on_nonfinite": "skip"})
    fitting = callback._fitting
    assert fitting is not None
    assert fitting.scope is not None
    assert fitting.scope.skipped_steps == 1
    assert all(p.isfinite().all() for p in trained.parameters())
    assert ("non-finite-loss", 6) in [(v.name, v.step) for v in callback.report.verdicts]


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of processes that a trainer opens is closed."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_processes_stop_together_and_a_step_that_cannot_be_run_again_is_told(tmp_path: Path) -> None:
    wishes = {"stop_on": "error", "judge_every": 10}
    callback = fitted(tmp_path, Poisoned(), strategy="ddp", wishes=wishes)  # it calls training_step() as forward()
    assert callback.report.watched["steps"] == 10
    assert callback.report.cannot is None
    assert callback.report.watched["limits"]["first cause"].startswith("step 6 was not finite, and could not be run")


# -- what is shown, and what is left -----------------------------------------------------------------------------------


def test_verdicts_are_printed_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, GradscopeCallback()).fit(Regressor(rate=50.0), data())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ERROR GS201 oversized-update: ")
    assert lines[-1].startswith("gradscope: unhealthy (32 steps, 4 parameters, 1 optimizer, ")
    assert "not judged" not in lines


def test_a_healthy_fit_has_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, GradscopeCallback()).fit(Regressor(), data())
    assert capsys.readouterr().out == "gradscope: healthy (32 steps, 4 parameters, 1 optimizer)\n"


def test_it_can_be_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, GradscopeCallback(show=None)).fit(Regressor(rate=50.0), data())
    assert capsys.readouterr().out == ""


def test_a_fit_that_fails_is_told_of_and_leaves_nothing(tmp_path: Path) -> None:
    shown: list[str] = []
    module = Failing()
    with pytest.raises(ValueError, match="the tenth batch"):
        trainer(tmp_path, GradscopeCallback(show=shown.append)).fit(module, data())
    assert shown[0].endswith("gradscope: healthy (9 steps, 4 parameters, 1 optimizer)")
    assert len(shown) == 1
    assert not patches.LISTENERS
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_a_second_fit_is_watched_afresh(tmp_path: Path) -> None:
    callback, module = GradscopeCallback(show=None), Regressor()
    trainer(tmp_path, callback).fit(module, data())
    trainer(tmp_path, callback, max_epochs=1).fit(module, data())
    assert callback.report.watched["steps"] == 16
    assert not patches.LISTENERS


def test_checkpoints_hold_nothing_of_it_and_are_resumed(tmp_path: Path) -> None:
    callback = GradscopeCallback(show=None)
    first = trainer(tmp_path, callback, max_epochs=1)
    first.fit(Regressor(), data())
    first.save_checkpoint(tmp_path / "one.ckpt")
    saved = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert not [key for key in saved["callbacks"] if "radscope" in key]
    second = trainer(tmp_path, callback, max_epochs=3)
    second.fit(Regressor(), data(), ckpt_path=tmp_path / "one.ckpt")
    assert (second.global_step, callback.report.watched["steps"]) == (48, 32)


def test_a_callback_can_be_copied_and_pickled(tmp_path: Path) -> None:
    callback = fitted(tmp_path)
    for twin in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert twin.report.cannot == "no fit() has begun"
        assert twin.wishes == callback.wishes


def test_a_model_that_cannot_be_watched_trains_all_the_same(tmp_path: Path) -> None:
    class Frozen(Regressor):
        def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]
            return None

        def configure_optimizers(self) -> None:
            return None

    module = Frozen()
    for p in module.parameters():
        p.requires_grad = False
    shown: list[str] = []
    trainer(tmp_path, GradscopeCallback(show=shown.append)).fit(module, data())
    assert "has no parameter that requires a gradient" in shown[0]
    assert shown[0].startswith("gradscope: not-judged: ")


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"stop_on": "all"}, "stop_on='all'; expected 'error', 'warning' or None"),
        ({"judge_every": 0}, "judge_every=0; expected a whole number of steps, 1 or more"),
        ({"on_nonfinite": "stop"}, "on_nonfinite='stop'"),
        ({"settings": {"ignored": []}}, "unknown key 'ignored'"),
    ],
)
def test_wrong_wishes_are_refused_before_any_training(wishes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        GradscopeCallback(**wishes)
    assert words in str(caught.value)


def test_a_name_of_its_own_hides_nothing() -> None:
    import lightning

    assert issubclass(GradscopeCallback, lightning.pytorch.Callback)
    assert isinstance(Regressor().net, nn.Sequential)
