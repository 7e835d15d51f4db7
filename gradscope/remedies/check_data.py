"""check-data."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("non-finite-loss", "gradient-spike", rank=15)
def check_data(_verdict: Verdict, _history: History) -> Remedy | None:
    """Remove samples that are not numbers, or far outside."""
    return Remedy(
        "check-data",
        "look for broken samples: NaN, Inf, glitch values, wrong units",
        "a single such sample reaches all weights through one step",
        {
            "torch": "assert torch.isfinite(x).all()\nkeep = (y - y.median()).abs() < 10 * y.std()",
            "tensorflow": "assert np.isfinite(x).all()\nkeep = np.abs(y - np.median(y)) < 10 * y.std()",
            "jax": "assert jnp.isfinite(x).all()\nkeep = jnp.abs(y - jnp.median(y)) < 10 * y.std()",
        },
        "Rousseeuw & Hubert (2011) doi:10.1002/widm.2",
        cost="one pass over the data",
        risk="rare samples that are right may be thrown away",
    )
