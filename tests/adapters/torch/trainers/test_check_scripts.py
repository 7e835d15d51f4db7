"""`gradscope check` on unchanged scripts that train with Lightning, transformers and accelerate."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.cli.programs import gradscope

pytestmark = [pytest.mark.usefixtures("nowhere"), pytest.mark.filterwarnings("ignore")]
LIGHTNING = """
import sys
import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Regressor(L.LightningModule):
    def __init__(self, rate):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(32, 1))
        self.rate = rate

    def loss(self, batch):
        return nn.functional.mse_loss(self.decoder(self.encoder(batch[0])), batch[1])

    def training_step(self, batch, index):
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate)

L.seed_everything(0)
x = torch.randn(256, 8)
data = DataLoader(TensorDataset(x, x @ torch.randn(8, 1)), batch_size=16)
trainer = L.Trainer(max_epochs=40, accelerator="cpu", gradient_clip_val=float(sys.argv[2]), logger=False)
trainer.fit(Regressor(float(sys.argv[1])), data, data)
"""
TRANSFORMERS = """
import sys
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(32, 1))

    def forward(self, x, labels=None):
        out = self.decoder(self.encoder(x))
        return {"loss": nn.functional.mse_loss(out, labels), "logits": out}

torch.manual_seed(0)
x = torch.randn(256, 8)
y = x @ torch.randn(8, 1)
data = [{"x": a, "labels": b} for a, b in zip(x, y)]
args = TrainingArguments(
    output_dir="out", num_train_epochs=40, per_device_train_batch_size=8, gradient_accumulation_steps=2, optim="sgd",
    learning_rate=float(sys.argv[1]), max_grad_norm=float(sys.argv[2]), lr_scheduler_type="constant", use_cpu=True,
    report_to="none", save_strategy="no", eval_strategy="epoch",
)
Trainer(Net(), args, train_dataset=data, eval_dataset=data[:32]).train()
"""
ACCELERATE = """
import sys
import torch
from accelerate import Accelerator
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(32, 1))

    def forward(self, x):
        return self.decoder(self.encoder(x))

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
torch.manual_seed(0)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=float(sys.argv[1]))
model, optimizer = accelerator.prepare(model, optimizer)
weights = torch.randn(8, 1)
for step in range(1000):
    x = torch.randn(64, 8)
    with accelerator.accumulate(model):
        accelerator.backward(nn.functional.mse_loss(model(x), x @ weights))
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(model.parameters(), float(sys.argv[2]))
        optimizer.step()
        optimizer.zero_grad()
"""
SCRIPTS = {"lightning": LIGHTNING, "transformers": TRANSFORMERS, "accelerate": ACCELERATE}


def check(folder: Path, trainer: str, rate: str, clip: str) -> tuple[int, dict[str, Any]]:
    """The exit code of a check of 60 steps, and its report."""
    pytest.importorskip(trainer)
    (folder / "train.py").write_text(SCRIPTS[trainer])
    options = ["--format", "json", "--steps", "60", "-o", folder / "report.json"]
    result = gradscope("check", folder / "train.py", *options, "--", rate, clip)
    assert (folder / "report.json").exists(), result.output
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return result.exit_code, report


@pytest.mark.parametrize("trainer", SCRIPTS)
def test_a_healthy_script_passes(tmp_path: Path, trainer: str) -> None:
    code, report = check(tmp_path, trainer, "0.05", "5.0")
    assert (code, report["status"], report["verdicts"], report["failure"]) == (0, "healthy", [], None)
    assert report["watched"]["steps"] == 60
    assert [(o["parameters"], o["elements"]) for o in report["watched"]["objectives"]] == [(4, 321)]


@pytest.mark.parametrize("trainer", SCRIPTS)
def test_a_faulty_script_is_named_with_its_layer_and_line(tmp_path: Path, trainer: str) -> None:
    code, report = check(tmp_path, trainer, "50.0", "1e9")
    first = report["verdicts"][0]
    line = 1 + SCRIPTS[trainer].splitlines().index("        self.decoder = nn.Sequential(nn.Linear(32, 1))")
    assert (code, report["failure"]) == (1, None)
    assert (first["name"], first["module"]) == ("oversized-update", "decoder.0")
    assert first["source"] == f"{tmp_path / 'train.py'}:{line}"
