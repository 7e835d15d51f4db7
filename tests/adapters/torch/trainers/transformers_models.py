"""A small model, its data, and the Trainer of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from gradscope_torch.transformers import GradscopeCallback


class Net(nn.Module):
    """A regression that gives its loss, as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
        self.poisoned = -1
        self.calls = 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        out = self.net(x)
        if labels is None:
            return {"logits": out}
        self.calls += 1
        factor = float("nan") if self.calls == self.poisoned else 1.0
        return {"loss": nn.functional.mse_loss(out, labels) * factor, "logits": out}


def data() -> list[dict[str, torch.Tensor]]:
    """256 samples of a linear target."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 8, generator=generator)
    y = x @ torch.randn(8, 1, generator=generator)
    return [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    """2 epochs of 16 steps of SGD on the CPU, logged every fourth."""
    options = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 16,
        "learning_rate": 0.05,
        "max_grad_norm": 0.0,
        "logging_steps": 4,
        "report_to": "none",
        "save_strategy": "no",
    } | options
    return TrainingArguments(
        output_dir=str(folder), optim="sgd", lr_scheduler_type="constant", use_cpu=True, disable_tqdm=True, **options
    )


def trained(
    folder: Path, *, wishes: dict[str, Any] | None = None, model: Net | None = None, **options: Any
) -> tuple[GradscopeCallback, Trainer]:
    """The callback and the Trainer after train(); `wishes` are the callback's own options."""
    torch.manual_seed(0)
    callback = GradscopeCallback(**{"show": None} | (wishes or {}))
    made = model or Net()
    trainer = Trainer(made, arguments(folder, **options), train_dataset=data(), callbacks=[callback])
    trainer.train()
    return callback, trainer
