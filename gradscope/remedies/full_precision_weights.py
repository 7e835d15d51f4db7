"""full-precision-weights."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import broke_alone, usual_rate
from gradscope.verdict import Remedy, Verdict


@remedy("non-finite-parameter", rank=15)
def full_precision_weights(verdict: Verdict, history: History) -> Remedy | None:
    """Weights in float32, or a larger eps; where the optimizer's own arithmetic broke the weights."""
    if not broke_alone(history):
        return None
    name = history.facts.get("optimizer", "Adam")
    known = history["parameter"].subject(verdict.evidence[0].parameter or "")
    half = known is not None and known.type == "float16"
    rate = usual_rate(history) or 1e-3
    if half:
        return Remedy(
            "full-precision-weights",
            "keep the weights in float32 and compute in half precision by autocast; or raise eps",
            "every gradient was finite, but float16 ends at 6e-8: an eps of 1e-8 is zero in it",
            {
                "torch": (
                    'model.float()\nwith torch.autocast("cuda", dtype=torch.float16):\n'
                    "    loss = criterion(model(x), y)\n"
                    f"# or torch.optim.{name}(model.parameters(), lr={rate:g}, eps=1e-4)"
                ),
                "tensorflow": (
                    'keras.mixed_precision.set_global_policy("mixed_float16")  # weights stay in float32\n'
                    f"# or keras.optimizers.{name}(learning_rate={rate:g}, epsilon=1e-4)"
                ),
            },
            "Micikevicius et al. (2018) arXiv:1710.03740",
        )
    return Remedy(
        "full-precision-weights",
        "look at the step itself: a larger eps, or a smaller learning rate",
        "every gradient was finite when the weights broke, so the optimizer's own arithmetic did it",
        {
            "torch": f"optimizer = torch.optim.{name}(model.parameters(), lr={rate / 10:g}, eps=1e-6)",
            "tensorflow": f"optimizer = keras.optimizers.{name}(learning_rate={rate / 10:g}, epsilon=1e-6)",
        },
        "torch.optim.Adam",
    )
