"""input-noise."""

from __future__ import annotations

from gradscope.gap import gap_reason
from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

DEVIATION = 0.1
"""For inputs of deviation one."""


@remedy(rank=85, usual={"deviation": DEVIATION})
def input_noise(_verdict: Verdict | None, history: History) -> Remedy | None:
    """Noise on the inputs. Answers to no rule: what it does shows on held-out data."""
    return Remedy(
        "input-noise",
        f"add noise of {DEVIATION:g} deviations to the inputs while it trains",
        gap_reason(history, "inputs that differ by noise must get the same answer, so single samples are not learnt"),
        {
            "torch": f"x = x + {DEVIATION:g} * torch.randn_like(x)  # while it trains; x of deviation 1",
            "tensorflow": f"layers.GaussianNoise({DEVIATION:g})  # as the first layer; inputs of deviation 1",
            "jax": f"x = x + {DEVIATION:g} * jax.random.normal(key, x.shape)  # while it trains; x of deviation 1",
        },
        "Bishop (1995) Training with noise is equivalent to Tikhonov regularization",
        cost="more steps to the same loss",
        risk="too much of it hides small features",
        settings={"deviation": DEVIATION},
    )
