"""The metrics that GradscopeCallback hands to the loggers of Lightning's Trainer."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("tensorboard")

import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import grad_norm

from gradscope_torch import patches
from tests.adapters.torch.trainers.events import scalars
from tests.adapters.torch.trainers.lightning_modules import GradscopeCallback, Pair, Regressor, data, fitted, trainer

pytestmark = [pytest.mark.usefixtures("nowhere"), pytest.mark.filterwarnings("ignore")]
NORM = "gradscope/grad_2.0_norm_total"


class Norms(Callback):
    """What Lightning's own utility finds, by batch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):  # type: ignore[no-untyped-def]
        self.seen.append({k: float(v) for k, v in grad_norm(pl_module, 2).items()})


def test_norms_are_those_of_lightnings_own_utility_at_the_same_steps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    norms, logger = Norms(), TensorBoardLogger(tmp_path)
    callback = GradscopeCallback(show=None, log_parameters=True)
    trainer(tmp_path, norms, callback, logger=[logger], gradient_clip_val=0.5).fit(Regressor(), data())
    seen = scalars(Path(logger.log_dir))
    assert [step for step, _ in seen[NORM]] == [3, 7, 11, 15, 19, 23, 27, 31]
    assert [step for step, _ in seen["train_loss"]] == [step for step, _ in seen[NORM]]
    for step, value in seen[NORM]:
        assert value == pytest.approx(norms.seen[step]["grad_2.0_norm_total"], rel=1e-5)
    assert max(value for _, value in seen["gradscope/grad_norm_clipped"]) == pytest.approx(0.5, rel=1e-4)
    assert "gradscope/grad_2.0_norm/net.0.weight" in seen
    assert "gradscope/update_ratio/net.2.weight" in seen


def test_all_loggers_get_them(tmp_path: Path) -> None:
    table, board = CSVLogger(tmp_path, name="table"), TensorBoardLogger(tmp_path, name="board")
    fitted(tmp_path, logger=[table, board])
    with (Path(table.log_dir) / "metrics.csv").open() as file:
        rows = {int(row["step"]): float(row[NORM]) for row in csv.DictReader(file) if row[NORM]}
    assert rows == pytest.approx(dict(scalars(Path(board.log_dir))[NORM]), rel=1e-5)


def test_the_last_point_counts_verdicts(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fitted(tmp_path, Regressor(rate=50.0), logger=[logger])
    seen = scalars(Path(logger.log_dir))
    ((step, errors),) = seen["gradscope/errors"]
    assert (step, errors >= 1) == (31, True)
    assert math.isnan(seen[NORM][-1][1])


def test_parameters_are_left_out_by_default(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fitted(tmp_path, logger=[logger])
    ours = {tag for tag in scalars(Path(logger.log_dir)) if tag.startswith("gradscope/")}
    assert ours == {NORM, "gradscope/update_ratio_max", "gradscope/errors", "gradscope/warnings"}


def test_nothing_is_logged_unasked(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fitted(tmp_path, logger=[logger], wishes={"log": False})
    assert not [tag for tag in scalars(Path(logger.log_dir)) if tag.startswith("gradscope/")]


def test_a_second_optimizer_has_keys_of_its_own(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fitted(tmp_path, Pair(), logger=[logger])
    seen = scalars(Path(logger.log_dir))
    assert [step for step, _ in seen[NORM]] == [step for step, _ in seen["gradscope/Adam_2/grad_2.0_norm_total"]]
    assert [step for step, _ in seen[NORM]][:2] == [3, 7]


def test_accumulated_batches_make_one_point(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fitted(tmp_path, logger=[logger], accumulate_grad_batches=2)
    assert [step for step, _ in scalars(Path(logger.log_dir))[NORM]] == [3, 7, 11, 15]


def test_a_logger_that_fails_stops_nothing(tmp_path: Path) -> None:
    class Full(CSVLogger):
        def log_metrics(self, metrics, step=None):  # type: ignore[no-untyped-def]
            if NORM in metrics:
                raise OSError("disk full")

    callback = fitted(tmp_path, Regressor(rate=50.0), logger=[Full(tmp_path)], wishes={"show": (shown := []).append})
    assert callback.report.watched["limits"] == {"metrics for the loggers of Lightning": "OSError: disk full"}
    assert callback.report.watched["steps"] == 32
    assert "oversized-update" in shown[0]
    assert not patches.LISTENERS
