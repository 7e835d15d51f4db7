# A deep *linear* autoencoder on low-rank data: no activations on purpose. Plain SGD with momentum.
import os
import torch

seed = int(os.environ.get("SEED", "0"))
torch.manual_seed(seed)

rank, width, n = 4, 32, 1024
latent = torch.randn(n, rank) * torch.tensor([1.6, 1.3, 1.0, 0.8])
mix = torch.linalg.qr(torch.randn(width, rank))[0]
X = latent @ mix.T * (width / rank) ** 0.5 * 0.6 + 0.05 * torch.randn(n, width)
X -= X.mean(0)

sizes = [32, 24, 12, 6, 12, 24, 32]
layers = [torch.nn.Linear(a, b, bias=False) for a, b in zip(sizes[:-1], sizes[1:])]
for l in layers:
    torch.nn.init.orthogonal_(l.weight)
net = torch.nn.Sequential(*layers)
sgd = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)

curve = []
for t in range(200):
    batch = X[torch.randperm(n)[:128]]
    loss = torch.nn.functional.mse_loss(net(batch), batch)
    sgd.zero_grad()
    loss.backward()
    sgd.step()
    curve.append(loss.item())
    if t % 20 == 0:
        print(t, curve[-1])
print("METRIC mse", sum(curve[:3]) / 3, sum(curve[-10:]) / 10)
