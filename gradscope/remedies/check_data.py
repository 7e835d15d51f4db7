"""check-data."""

from __future__ import annotations

from gradscope.history import History
from gradscope.origin import listed
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("non-finite-loss", "non-finite-gradient", "gradient-spike", rank=15)
def check_data(verdict: Verdict, _history: History) -> Remedy | None:
    """Remove samples that are not numbers, or far outside; None where the step was run again, and data was sound."""
    origin = verdict.origin
    if origin is not None and not origin.culprit:
        return None
    reason = "a single such sample reaches all weights through one step"
    if origin is not None:
        where = f" (samples {listed(origin.samples)})" if origin.samples else ""
        reason = f"{origin.reason}{where}: {reason}"
    return Remedy(
        "check-data",
        "look for broken samples: NaN, Inf, glitch values, wrong units",
        reason,
        {
            "torch": "assert torch.isfinite(x).all()\nkeep = (y - y.median()).abs() < 10 * y.std()",
            "tensorflow": "assert np.isfinite(x).all()\nkeep = np.abs(y - np.median(y)) < 10 * y.std()",
            "jax": "assert jnp.isfinite(x).all()\nkeep = jnp.abs(y - jnp.median(y)) < 10 * y.std()",
        },
        "Rousseeuw & Hubert (2011) doi:10.1002/widm.2",
        cost="one pass over the data",
        risk="rare samples that are right may be thrown away",
    )
