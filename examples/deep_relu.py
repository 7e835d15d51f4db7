"""The same two rings with ReLU layers and He initialization: it learns, and gradscope has nothing to say.

gradscope check examples/deep_relu.py --quiet
"""

import torch
from torch import nn

torch.manual_seed(0)
angle, label = torch.rand(2000) * 6.2832, torch.randint(0, 2, (2000,))
radius = 1.0 + label + 0.1 * torch.randn(2000)
points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)

layers = []
for i in range(10):
    layers += [nn.Linear(2 if i == 0 else 32, 32), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(32, 1))

for layer in layers[::2]:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(20):
    for batch in torch.randperm(2000).split(100):
        loss = nn.functional.binary_cross_entropy_with_logits(model(points[batch])[:, 0], label[batch].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}  loss {loss.item():.4f}")
