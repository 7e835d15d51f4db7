"""An EMA copy by deepcopy, then stochastic weight averaging with SWALR and update_bn at the end."""
import copy
import os
import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


class EMA:
    def __init__(self, model, decay=0.95):
        self.shadow = copy.deepcopy(model).eval()
        for p in self.shadow.parameters():
            p.requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model):
        for s, p in zip(self.shadow.state_dict().values(), model.state_dict().values()):
            if s.dtype.is_floating_point:
                s.mul_(self.decay).add_(p, alpha=1 - self.decay)
            else:
                s.copy_(p)


def main():
    seed = int(os.environ.get("SEED", "0"))
    torch.manual_seed(seed)
    X, y = load_wine(return_X_y=True)
    xtr, xte, ytr, yte = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=y)
    sc = StandardScaler().fit(xtr)
    xtr, xte = (torch.tensor(sc.transform(a), dtype=torch.float32) for a in (xtr, xte))
    ytr, yte = torch.tensor(ytr), torch.tensor(yte)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=24, shuffle=True, drop_last=True)
    model = nn.Sequential(nn.Linear(13, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    ema, swa = EMA(model), AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
    swa_scheduler, swa_start, losses = SWALR(optimizer, swa_lr=0.02, anneal_epochs=3), 20, []
    for epoch in range(35):
        model.train()
        for x, t in loader:
            loss = nn.functional.cross_entropy(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ema.update(model)
            losses.append(loss.item())
        if epoch >= swa_start:
            swa.update_parameters(model)
            swa_scheduler.step()
        if epoch % 5 == 0:
            acc = (ema.shadow(xte).argmax(1) == yte).float().mean().item()
            print(f"epoch {epoch:2d} loss {losses[-1]:.4f} ema accuracy {acc:.3f}")
    update_bn(loader, swa)
    swa.eval()
    with torch.no_grad():
        print("swa accuracy", (swa(xte).argmax(1) == yte).float().mean().item())
    print("METRIC loss", sum(losses[:3]) / 3, sum(losses[-10:]) / 10)


if __name__ == "__main__":
    main()
