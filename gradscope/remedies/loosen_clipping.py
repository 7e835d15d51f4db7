"""loosen-clipping."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import clipping_line
from gradscope.remedy import remedy
from gradscope.usual import rounded, usual_gradient
from gradscope.verdict import Remedy, Verdict


@remedy("always-clipped", rank=10, usual={"max_norm": 10.0})
def loosen_clipping(_verdict: Verdict, history: History) -> Remedy | None:
    """A clipping limit above the usual gradient."""
    usual = usual_gradient(history)
    if usual is None:
        return None
    limit = rounded(2 * usual)
    return Remedy(
        "loosen-clipping",
        f"raise the clipping limit to about {limit:g}",
        f"the median gradient norm before clipping is {usual:.3g}, so the limit cuts every step",
        {
            "torch": f"torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm={limit:g})",
            "tensorflow": f"optimizer = keras.optimizers.Adam(global_clipnorm={limit:g})",
            "jax": clipping_line(history, f"{limit:g}"),
        },
        "Pascanu et al. (2013) arXiv:1211.5063",
        cost="none",
        risk="outliers get through up to the new limit",
        settings={"max_norm": limit},
    )
