"""ConvNeXt-style net under bfloat16 autocast, with layer scale 1e-6 (the branches begin as good as switched off)."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn import datasets


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    def __init__(self, dim, layer_scale=1e-6):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.pw1, self.act, self.pw2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(layer_scale * torch.ones(dim))

    def forward(self, x):
        h = self.dwconv(x).permute(0, 2, 3, 1)
        h = self.gamma * self.pw2(self.act(self.pw1(self.norm(h))))
        return x + h.permute(0, 3, 1, 2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 2, 2), LayerNorm2d(24))
        self.stage1 = nn.Sequential(Block(24), Block(24))
        self.down = nn.Sequential(LayerNorm2d(24), nn.Conv2d(24, 48, 2, 2))
        self.stage2 = nn.Sequential(Block(48), Block(48))
        self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, 10)
        self.apply(self.reset)

    @staticmethod
    def reset(m):
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.trunc_normal_(m.weight, std=0.02)
            nn.init.constant_(m.bias, 0)

    def forward(self, x):
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(self.norm(x.mean([-2, -1])))


if __name__ == "__main__":
    torch.manual_seed(int(os.environ.get("SEED", "0")))
    digits = datasets.load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 0.6
    labels = torch.tensor(digits.target)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=200, pct_start=0.15)
    log = []
    for i in range(200):
        pick = torch.randint(0, len(images), (96,))
        with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(net(images[pick]), labels[pick], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        log.append(loss.item())
        if i % 20 == 19:
            print(f"[{i + 1}] {sum(log[-20:]) / 20:.4f}")
    print("METRIC smoothed_ce", sum(log[:3]) / 3, sum(log[-10:]) / 10)
