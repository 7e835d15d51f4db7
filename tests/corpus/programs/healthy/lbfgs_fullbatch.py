"""L-BFGS with a closure: many backward calls within one optimizer.step()."""
import os
import math
import torch

SEED = int(os.environ.get("SEED", "0"))
gen = torch.Generator().manual_seed(SEED)
torch.manual_seed(SEED)

# a surface to fit: Franke's function with a little noise
n = 300
p = torch.rand(n, 2, generator=gen)
u, v = 9 * p[:, 0], 9 * p[:, 1]
z = (0.75 * torch.exp(-((u - 2) ** 2 + (v - 2) ** 2) / 4) + 0.75 * torch.exp(-(u + 1) ** 2 / 49 - (v + 1) / 10)
     + 0.5 * torch.exp(-((u - 7) ** 2 + (v - 3) ** 2) / 4) - 0.2 * torch.exp(-(u - 4) ** 2 - (v - 7) ** 2))
z = (z + 0.01 * torch.randn(n, generator=gen)).unsqueeze(1)
x = 2 * p - 1

model = torch.nn.Sequential(torch.nn.Linear(2, 24), torch.nn.Tanh(), torch.nn.Linear(24, 24), torch.nn.Tanh(), torch.nn.Linear(24, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=1.0, max_iter=10, history_size=20, line_search_fn="strong_wolfe")


def closure():
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), z)
    loss.backward()
    return loss


history = []
for it in range(70):
    history.append(float(optimizer.step(closure)))      # the loss before the step
    if it % 10 == 0:
        print(f"it {it:3d}  rmse {math.sqrt(history[-1]):.5f}")
print("METRIC mse", history[0], history[-1])
