"""full-precision-weights."""

from __future__ import annotations

from gradscope.history import History
from gradscope.optimizers import has_eps, optimizer_lines
from gradscope.remedy import remedy
from gradscope.usual import broke_alone, usual_rate
from gradscope.verdict import Remedy, Verdict

CASTS = {
    "torch": 'model.float()\nwith torch.autocast("cuda", dtype=torch.float16):\n    loss = criterion(model(x), y)',
    "tensorflow": 'keras.mixed_precision.set_global_policy("mixed_float16")  # weights stay in float32',
    "jax": (
        "params = jax.tree.map(lambda p: p.astype(jnp.float32), params)\n"
        "half = jax.tree.map(lambda p: p.astype(jnp.float16), params)  # inside loss_fn, from its params"
    ),
}


@remedy("non-finite-parameter", rank=15, usual={"precision": "float32"})
def full_precision_weights(verdict: Verdict, history: History) -> Remedy | None:
    """Weights in float32, or a larger eps; where the optimizer's own arithmetic broke the weights."""
    if not broke_alone(history):
        return None
    known = history["parameter"].subject(verdict.evidence[0].parameter or "")
    rate, divides = usual_rate(history) or 1e-3, has_eps(history, "Adam")
    if known is not None and known.type == "float16":
        lines = optimizer_lines(history, f"{rate:g}", otherwise="Adam", eps="1e-4")
        code = {f: f"{cast}\n# or {lines[f]}" if divides else cast for f, cast in CASTS.items()}
        return Remedy(
            "full-precision-weights",
            f"keep the weights in float32 and compute in half precision{'; or raise eps' if divides else ''}",
            "every gradient was finite, but float16 ends at 6e-8: an eps of 1e-8 is zero in it"
            if divides
            else "every gradient was finite, but float16 ends at 65504",
            code,
            "Micikevicius et al. (2018) arXiv:1710.03740",
            cost="twice the memory of the weights",
            risk="none",
            settings={"precision": "float32", "eps": 1e-4} if divides else {"precision": "float32"},
        )
    return Remedy(
        "full-precision-weights",
        f"look at the step itself: {'a larger eps, or ' if divides else ''}a smaller learning rate",
        "every gradient was finite when the weights broke, so the optimizer's own arithmetic did it",
        optimizer_lines(history, f"{rate / 10:g}", otherwise="Adam", eps="1e-6"),
        "torch.optim.Adam",
        cost="more steps",
        risk="a large eps turns an adaptive step into a plain one",
        settings={"factor": 0.1, "eps": 1e-6} if divides else {"factor": 0.1},
    )
