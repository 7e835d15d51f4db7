"""Small modules, their data and trainers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradscope_torch.lightning import GradscopeCallback


class Regressor(L.LightningModule):
    """A regression on a linear target, with one optimizer."""

    def __init__(self, rate: float = 0.05):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
        self.rate = rate

    def loss(self, batch: Any) -> torch.Tensor:
        """The squared error of a batch."""
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


class Pair(Regressor):
    """Two halves with an optimizer each, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(self.net[i].parameters(), lr=1e-2) for i in (0, 2)]


class Failing(Regressor):
    """Raises in its tenth batch."""

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        if index == 9:
            raise ValueError("the tenth batch")
        return super().training_step(batch, index)


class Poisoned(Regressor):
    """Its loss is NaN in one step."""

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        loss = super().training_step(batch, index)
        return loss * float("nan") if self.global_step == 6 else loss


class PoisonedByHand(Poisoned):
    """The same, with backward and step by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, index))
        optimizer.step()


def data() -> DataLoader[Any]:
    """16 batches of 16."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 8, generator=generator)
    return DataLoader(TensorDataset(x, x @ torch.randn(8, 1, generator=generator)), batch_size=16)


def trainer(folder: Path, *callbacks: Any, logger: Sequence[Logger] | bool = False, **options: Any) -> L.Trainer:
    """A trainer of 2 epochs on the CPU that shows nothing."""
    options = {"max_epochs": 2, "enable_checkpointing": False, "log_every_n_steps": 4} | options
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )


def fitted(folder: Path, module: L.LightningModule | None = None, /, **options: Any) -> GradscopeCallback:
    """The callback after a fit; `wishes` are its own options."""
    torch.manual_seed(0)
    callback = GradscopeCallback(**{"show": None} | options.pop("wishes", {}))
    trainer(folder, callback, **options).fit(module or Regressor(), data(), data())
    return callback
