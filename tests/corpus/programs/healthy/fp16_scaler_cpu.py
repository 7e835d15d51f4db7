"""float16 autocast on the CPU with a loss scaler that starts far too high: it skips steps until the scale fits."""
import os
import torch
from torch import nn
from sklearn.datasets import load_digits

torch.manual_seed(int(os.environ.get("SEED", "0")))
d = load_digits()
x = torch.tensor((d.data - d.data.mean(0)) / (d.data.std(0) + 0.5), dtype=torch.float32)
y = torch.tensor(d.target)

model = nn.Sequential(nn.Linear(64, 96), nn.LayerNorm(96), nn.GELU(), nn.Linear(96, 96), nn.LayerNorm(96), nn.GELU(), nn.Linear(96, 10))
opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** 28, growth_interval=50)
losses, skipped = [], 0
for step in range(180):
    idx = torch.randint(len(x), (64,))
    with torch.autocast("cpu", dtype=torch.float16):
        out = model(x[idx])
        loss = nn.functional.cross_entropy(out.float(), y[idx])
    opt.zero_grad(set_to_none=True)
    before = scaler.get_scale()
    scaler.scale(loss).backward()
    scaler.unscale_(opt)
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    scaler.step(opt)
    scaler.update()
    skipped += scaler.get_scale() < before
    losses.append(loss.item())
    if step % 15 == 0:
        print(f"{step:4d} loss {loss.item():.4f} scale 2^{torch.tensor(scaler.get_scale()).log2().item():.0f} skipped {skipped}")
print("METRIC cross_entropy", sum(losses[:5]) / 5, sum(losses[-10:]) / 10)
