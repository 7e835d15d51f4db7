"""Lightning trainer with clipping and a scheduler: a GRU tells which of four noisy waveforms it hears."""
import logging
import os
import tempfile
import warnings

import lightning as L
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def waves(n, length=40):
    t = torch.linspace(0, 1, length)
    kind = torch.randint(4, (n,))
    freq, phase = 2 + 3 * torch.rand(n, 1), torch.rand(n, 1)
    cycle = (freq * t + phase) % 1
    forms = torch.stack([(cycle * 2 * torch.pi).sin(), 4 * (cycle - 0.5).abs() - 1, 2 * cycle - 1, (cycle > 0.5).float() * 2 - 1], 1)
    return (forms[torch.arange(n), kind] + 0.15 * torch.randn(n, length)).unsqueeze(-1), kind


class WaveModule(L.LightningModule):
    def __init__(self, hidden=40, lr=5e-3):
        super().__init__()
        self.save_hyperparameters()
        self.conv = nn.Conv1d(1, 16, 5, padding=2)
        self.gru = nn.GRU(16, hidden, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(hidden, 4)
        self.curve = []

    def forward(self, x):
        h = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        _, last = self.gru(h)
        return self.head(self.dropout(last[-1]))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.curve.append(loss.item())
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        opt = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return {"optimizer": opt, "lr_scheduler": torch.optim.lr_scheduler.StepLR(opt, 4, 0.5)}


if __name__ == "__main__":
    L.seed_everything(int(os.environ.get("SEED", "0")), verbose=False)
    train = DataLoader(TensorDataset(*waves(1600)), batch_size=64, shuffle=True)
    val = DataLoader(TensorDataset(*waves(300)), batch_size=100)
    module = WaveModule()
    with tempfile.TemporaryDirectory() as root:
        trainer = L.Trainer(max_epochs=8, accelerator="cpu", devices=1, gradient_clip_val=1.0, logger=False, enable_checkpointing=False,
                            enable_progress_bar=False, enable_model_summary=False, default_root_dir=root)
        trainer.fit(module, train, val)
    print("val accuracy", trainer.callback_metrics["val_acc"].item())
    print("METRIC train_loss", sum(module.curve[:3]) / 3, sum(module.curve[-10:]) / 10)
