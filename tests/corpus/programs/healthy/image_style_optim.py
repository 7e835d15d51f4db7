"""Style transfer's mechanics: the optimized tensor is an image, the network is fixed, features match through Gram matrices."""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(int(os.environ.get("SEED", "0")))


def gram(f):
    b, c, h, w = f.shape
    f = f.view(b, c, h * w)
    return f @ f.transpose(1, 2) / (h * w)


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)])
        for c in self.convs:
            nn.init.kaiming_normal_(c.weight)
            nn.init.zeros_(c.bias)

    def forward(self, x):
        out = []
        for c in self.convs:
            x = F.relu(c(x))
            out.append(x)
            x = F.avg_pool2d(x, 2)
        return out


net = Features().eval()
for p in net.parameters():
    p.requires_grad = False

yy, xx = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
content = torch.stack([xx, yy, ((xx - 0.5) ** 2 + (yy - 0.5) ** 2 < 0.1).float()])[None]
style = torch.stack([(12 * xx).sin(), (9 * (xx + yy)).cos(), (15 * yy).sin()])[None] * 0.5 + 0.5
content_target = net(content)[1]
style_targets = [gram(f) for f in net(style)]

image = torch.rand_like(content).requires_grad_(True)
optimizer = torch.optim.Adam([image], lr=0.03)
scores = []
for i in range(200):
    with torch.no_grad():
        image.clamp_(0, 1)
    feats = net(image)
    style_score = sum(F.mse_loss(gram(f), t) for f, t in zip(feats, style_targets))
    content_score = F.mse_loss(feats[1], content_target)
    loss = style_score + 0.3 * content_score
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scores.append(loss.item())
    if i % 20 == 0:
        print(f"run {i}: style {style_score.item():.4f} content {content_score.item():.4f}")
print("METRIC total", scores[0], scores[-1])
