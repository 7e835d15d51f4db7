import os
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit


def reset(model):
    for name, p in model.named_parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)
        else:
            nn.init.zeros_(p)


class Strokes(nn.Module):
    """Reads an image row by row."""

    def __init__(self, hidden=32):
        super().__init__()
        self.cell = nn.RNNCell(8, hidden)
        self.dense = nn.Linear(hidden, 32)
        self.logits = nn.Linear(32, 10)

    def forward(self, img):
        h = torch.zeros(img.size(0), self.cell.hidden_size)
        for row in range(img.size(1)):
            h = self.cell(img[:, row], h)
        return self.logits(torch.tanh(self.dense(h)))


def evaluate(model, loader):
    right = total = 0
    model.eval()
    with torch.no_grad():
        for img, lab in loader:
            right += (model(img).argmax(1) == lab).sum().item()
            total += lab.numel()
    return right / total


torch.manual_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
img, lab = torch.tensor(d.images / 16.0, dtype=torch.float32), torch.tensor(d.target)
tr, te = next(StratifiedShuffleSplit(1, test_size=0.25, random_state=2).split(img, lab))
train_loader = DataLoader(TensorDataset(img[tr], lab[tr]), batch_size=40, shuffle=True)
test_loader = DataLoader(TensorDataset(img[te], lab[te]), batch_size=200)

model = Strokes()
reset(model)
opt = torch.optim.Adam(model.parameters(), lr=2e-3)
ce = nn.CrossEntropyLoss()
for epoch in range(15):
    model.train()
    for xb, yb in train_loader:
        opt.zero_grad()
        loss = ce(model(xb), yb)
        loss.backward()
        opt.step()
    print(f"epoch {epoch:2d} loss {loss.item():.3f}")
print("METRIC accuracy", evaluate(model, test_loader))
