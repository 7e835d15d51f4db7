"""The programs that the command is tried on, and how it is called in this process and read."""

from __future__ import annotations

from click.testing import CliRunner, Result

from gradscope_cli.main import main

HEALTHY = """\
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
weights = torch.randn(8, 1) / 8**0.5
for step in range(20):
    x = torch.randn(64, 8)
    loss = torch.nn.functional.mse_loss(model(x), x @ weights)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
STALE = HEALTHY.replace("    optimizer.zero_grad()\n", "").replace("range(20)", "range(60)")
"""Its one error is stale-gradient, GS012."""
NO_STEP = "import torch\nmodel = torch.nn.Linear(2, 1)\nprint('done')\n"


def gradscope(*arguments: object) -> Result:
    """The command in this process, with stdout and stderr apart."""
    return CliRunner().invoke(main, [str(a) for a in arguments])


def last_line(output: str) -> str:
    """The line with the status."""
    return output.strip().splitlines()[-1]
