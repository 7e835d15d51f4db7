"""Transfer: pretrain a small CNN on digits 0-5, freeze it (eval, requires_grad False), train a new head on 6-9."""
import os
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(int(os.environ.get("SEED", "0")))
raw = load_digits()
X = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1).div(16).sub(0.3).div(0.38)
Y = torch.tensor(raw.target)

backbone = nn.Sequential()
backbone.add_module("conv1", nn.Conv2d(1, 24, 3, padding=1))
backbone.add_module("bn1", nn.BatchNorm2d(24))
backbone.add_module("relu1", nn.ReLU(inplace=True))
backbone.add_module("conv2", nn.Conv2d(24, 48, 3, padding=1, stride=2))
backbone.add_module("bn2", nn.BatchNorm2d(48))
backbone.add_module("relu2", nn.ReLU(inplace=True))
backbone.add_module("pool", nn.AdaptiveAvgPool2d(2))
backbone.add_module("flat", nn.Flatten())

# ---- stage 1
old = Y < 6
net = nn.Sequential(backbone, nn.Linear(192, 6))
opt = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
for epoch in range(4):
    for xb, yb in DataLoader(TensorDataset(X[old], Y[old]), batch_size=64, shuffle=True):
        opt.zero_grad()
        nn.functional.cross_entropy(net(xb), yb).backward()
        opt.step()

# ---- stage 2
backbone.requires_grad_(False)
backbone.eval()
head = nn.Sequential(nn.Linear(192, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 4))
model = nn.Sequential(backbone, head)
tr_x, te_x, tr_y, te_y = train_test_split(X[~old], Y[~old] - 6, test_size=0.3, random_state=0)
opt = optim.Adam(head.parameters(), lr=2e-3)
curve = []
for epoch in range(10):
    model.train()
    backbone.eval()                      # keep the statistics of batch norm
    for xb, yb in DataLoader(TensorDataset(tr_x, tr_y), batch_size=32, shuffle=True):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(xb), yb)
        loss.backward()
        opt.step()
        curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(te_x).argmax(1) == te_y).float().mean().item()
    print(f"epoch {epoch} loss {curve[-1]:.4f} test accuracy {acc:.3f}")
print("METRIC head_loss", sum(curve[:3]) / 3, sum(curve[-10:]) / 10)
