"""GradscopeCallback in the real Trainer of transformers."""

from __future__ import annotations

import copy
import gc
import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from gradscope.errors import NonFiniteError
from transformers import Trainer, TrainerCallback

from gradscope_torch.transformers import GradscopeCallback
from tests.adapters.torch.trainers.events import scalars
from tests.adapters.torch.trainers.transformers_models import Net, arguments, data, trained

pytestmark = [pytest.mark.usefixtures("nowhere"), pytest.mark.filterwarnings("ignore")]


def column(callback: GradscopeCallback, quantity: str) -> list[float]:
    """What was noted of the run in every step."""
    fitting = callback._fitting
    assert fitting is not None
    assert fitting.scope is not None
    values: list[float] = fitting.scope.histories[0].run(quantity).tolist()
    return values


def listening(callback: GradscopeCallback) -> bool:
    """Whether the watch of the callback is still there."""
    fitting = callback._fitting
    assert fitting is not None
    assert fitting.scope is not None
    return fitting.scope.watched is not None


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_a_healthy_training_is_healthy(tmp_path: Path) -> None:
    report = trained(tmp_path)[0].report
    assert (report.status, report.verdicts, report.watched["steps"]) == ("healthy", (), 32)
    assert report.watched["limits"] == {}


def test_a_training_with_too_large_a_rate_is_named(tmp_path: Path) -> None:
    report = trained(tmp_path, learning_rate=50.0)[0].report
    assert (report.verdicts[0].name, report.verdicts[0].module) == ("oversized-update", "net.2")


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    callback, trainer = trained(tmp_path, gradient_accumulation_steps=4)
    assert column(callback, "backward_passes") == [4.0] * 8 == [4.0] * trainer.state.global_step
    assert column(callback, "carried_over")[1:] == [0.0] * 7


def test_evaluation_is_no_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    callback = GradscopeCallback(show=None)
    options = arguments(tmp_path, eval_strategy="steps", eval_steps=5, eval_on_start=True)
    Trainer(Net(), options, train_dataset=data(), eval_dataset=data()[:32], callbacks=[callback]).train()
    assert column(callback, "backward_passes") == [1.0] * 32


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    def weights(*callbacks: Any) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = Net()
        Trainer(model, arguments(tmp_path, max_grad_norm=0.5), train_dataset=data(), callbacks=list(callbacks)).train()
        return list(model.parameters())

    pairs = zip(weights(), weights(GradscopeCallback(show=None)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_are_in_the_log_history_beside_the_trainers_own(tmp_path: Path) -> None:
    _, trainer = trained(tmp_path, max_grad_norm=2.0)
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in logs] == [4, 8, 12, 16, 20, 24, 28, 32]
    for entry in logs:
        assert entry["gradscope/grad_norm"] == pytest.approx(entry["grad_norm"], rel=1e-5)
        assert entry["gradscope/grad_norm_clipped"] == pytest.approx(min(entry["grad_norm"], 2.0), rel=1e-4)
    assert trainer.state.log_history[-1]["gradscope/errors"] == 0.0


def test_they_reach_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trained(tmp_path, report_to="tensorboard")
    seen = scalars(tmp_path / "board")
    assert [step for step, _ in seen["train/gradscope/grad_norm"]] == [4, 8, 12, 16, 20, 24, 28, 32]
    assert seen["train/gradscope/errors"] == [(32, 0.0)]


def test_they_reach_callbacks_that_stand_before_and_behind(tmp_path: Path) -> None:
    class Seen(TrainerCallback):
        def __init__(self) -> None:
            self.logs: list[dict[str, float]] = []

        def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
            self.logs.append(dict(logs))

    before, behind = Seen(), Seen()
    callbacks = [before, GradscopeCallback(show=None), behind]
    Trainer(Net(), arguments(tmp_path), train_dataset=data(), callbacks=callbacks).train()
    assert before.logs == behind.logs
    assert all("gradscope/grad_norm" in logs for logs in before.logs[:-1])


def test_a_loss_that_the_trainer_filters_is_seen(tmp_path: Path) -> None:
    model = Net()
    model.poisoned = 9
    callback, trainer = trained(tmp_path, model=model)
    assert all(math.isfinite(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)
    assert ("non-finite-loss", 8) in [(v.name, v.step) for v in callback.report.verdicts]
    assert trainer.state.log_history[-1]["gradscope/errors"] >= 1


def test_nothing_is_logged_unasked(tmp_path: Path) -> None:
    _, trainer = trained(tmp_path, wishes={"log": False})
    assert not [key for entry in trainer.state.log_history for key in entry if key.startswith("gradscope/")]


def test_parameters_are_logged_on_request(tmp_path: Path) -> None:
    _, trainer = trained(tmp_path, wishes={"log_parameters": True})
    assert "gradscope/grad_norm/net.0.weight" in trainer.state.log_history[0]


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_an_error_stops_the_training_when_asked(tmp_path: Path) -> None:
    _, trainer = trained(tmp_path, learning_rate=50.0, wishes={"stop_on": "error", "judge_every": 10})
    assert trainer.state.global_step == 10


def test_an_error_stops_nothing_unasked(tmp_path: Path) -> None:
    assert trained(tmp_path, learning_rate=50.0, wishes={"judge_every": 10})[1].state.global_step == 32


def test_a_loss_that_is_no_number_raises_when_asked(tmp_path: Path) -> None:
    model = Net()
    model.poisoned = 9
    with pytest.raises(NonFiniteError):
        trained(tmp_path, model=model, wishes={"on_nonfinite": "raise"})
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_step_that_is_not_finite_is_skipped_when_asked(tmp_path: Path) -> None:
    model = Net()
    model.poisoned = 9
    trained(tmp_path, model=model, wishes={"on_nonfinite": "skip"})
    assert all(p.isfinite().all() for p in model.parameters())


# -- what is shown, and what is left -----------------------------------------------------------------------------------


def test_verdicts_are_printed_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = arguments(tmp_path, learning_rate=50.0)
    Trainer(Net(), options, train_dataset=data(), callbacks=[GradscopeCallback]).train()
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("ERROR GS201 oversized-update: ")]
    assert lines[-1].startswith("gradscope: unhealthy (32 steps, 4 parameters, 1 optimizer, ")


def test_it_can_be_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path, learning_rate=50.0)
    assert "oversized-update" not in capsys.readouterr().out


@pytest.mark.parametrize("closed", [True, False])
def test_a_train_that_raises_leaves_nothing_once_its_error_was_dealt_with(tmp_path: Path, closed: bool) -> None:
    class Full(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            if state.global_step == 10:
                raise OSError("disk full")

    callback = GradscopeCallback(show=None)
    trainer = Trainer(Net(), arguments(tmp_path), train_dataset=data(), callbacks=[callback, Full()])
    with pytest.raises(OSError, match="disk full"):
        trainer.train()
    if closed:
        callback.close()
    gc.collect()
    assert not listening(callback)
    assert callback.report.watched["steps"] == 10


def test_a_resumed_training_is_watched_afresh(tmp_path: Path) -> None:
    callback, _ = trained(tmp_path, num_train_epochs=1, save_strategy="epoch")
    again = Trainer(Net(), arguments(tmp_path), train_dataset=data(), callbacks=[callback])
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-16"))
    assert (again.state.global_step, callback.report.watched["steps"]) == (32, 16)
    assert "gradscope/grad_norm" in again.state.log_history[-2]
    assert not listening(callback)


def test_a_callback_can_be_copied_and_pickled(tmp_path: Path) -> None:
    callback, _ = trained(tmp_path)
    for twin in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert twin.report.cannot == "no train() has begun"
