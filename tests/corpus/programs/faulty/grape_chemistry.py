import os
from dataclasses import dataclass

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import RobustScaler
from torch import nn


@dataclass
class Settings:
    hidden: int = 20
    learning_rate: float = 1e-5
    batch_size: int = 12
    epochs: int = 60
    seed: int = int(os.environ.get("SEED", 0))


class Experiment:
    def __init__(self, settings):
        self.s = settings
        torch.manual_seed(settings.seed)
        x, y = load_wine(return_X_y=True)
        x_tr, x_te, y_tr, y_te = train_test_split(x, y, test_size=0.35, random_state=5, stratify=y)
        scaler = RobustScaler().fit(x_tr)
        as_x = lambda a: torch.tensor(scaler.transform(a), dtype=torch.float32)
        self.train_x, self.test_x = as_x(x_tr), as_x(x_te)
        self.train_y, self.test_y = torch.tensor(y_tr), torch.tensor(y_te)
        self.model = nn.Sequential(nn.Linear(13, settings.hidden), nn.GELU(), nn.Linear(settings.hidden, 3))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=settings.learning_rate)

    def run(self):
        for epoch in range(self.s.epochs):
            for idx in torch.randperm(len(self.train_x)).split(self.s.batch_size):
                self.optimizer.zero_grad()
                loss = nn.functional.cross_entropy(self.model(self.train_x[idx]), self.train_y[idx])
                loss.backward()
                self.optimizer.step()
            if epoch % 15 == 0:
                print("epoch", epoch, "loss", loss.item())

    def score(self):
        with torch.no_grad():
            return (self.model(self.test_x).argmax(1) == self.test_y).float().mean().item()


experiment = Experiment(Settings())
experiment.run()
print("METRIC accuracy", experiment.score())
