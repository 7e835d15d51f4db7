"""Several tags for one article (multi-label)."""
import os
import torch
from torch import nn
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import f1_score
from torch.utils.data import DataLoader, TensorDataset


class Tagger(nn.Module):
    def __init__(self, words, tags):
        super().__init__()
        self.hidden = nn.Linear(words, 48)
        self.norm = nn.LayerNorm(48)
        self.tags = nn.Linear(48, tags)

    def forward(self, counts):
        h = torch.relu(self.norm(self.hidden(counts)))
        return self.tags(h)


def main():
    torch.manual_seed(int(os.environ.get("SEED", 0)))
    counts, tags = make_multilabel_classification(2400, n_features=60, n_classes=8, n_labels=2, length=60, random_state=10)
    x = torch.tensor(counts, dtype=torch.float32).log1p()
    y = torch.tensor(tags, dtype=torch.float32)
    loader = DataLoader(TensorDataset(x[:2000], y[:2000]), batch_size=50, shuffle=True)
    model = Tagger(60, 8)
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(12):
        model.train()
        for counts, target in loader:
            loss = criterion(model(counts), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print("epoch", epoch, "bce", loss.item())
    model.eval()
    with torch.no_grad():
        predicted = torch.sigmoid(model(x[2000:])) > 0.5
    print("METRIC macro_f1", f1_score(y[2000:].numpy(), predicted.numpy(), average="macro", zero_division=0))


main()
