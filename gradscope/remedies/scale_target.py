"""scale-target."""

from __future__ import annotations

import numpy as np

from gradscope.fit import fit_of
from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("unscaled-target", rank=10)
def scale_target(_verdict: Verdict, history: History) -> Remedy | None:
    """Targets to mean 0 and deviation 1 for training."""
    fit = fit_of(history)
    if fit is None:
        return None
    table = history["loss"]
    mean, deviation = (float(np.nanmedian(table.series(q, fit.site.name))) for q in ("target_mean", "target_deviation"))
    reason = f"the targets have mean {mean:.3g} and deviation {deviation:.3g}; a fresh output is of size one or less"
    return Remedy(
        "scale-target",
        "standardize the targets for training, and undo it for predictions",
        reason,
        {
            "torch": (
                "mean, std = y_train.mean(), y_train.std()\n"
                "loss = criterion(model(x), (y - mean) / std)  # prediction: model(x) * std + mean"
            ),
            "tensorflow": (
                "mean, std = y_train.mean(), y_train.std()\n"
                "model.fit(x_train, (y_train - mean) / std)  # prediction: model.predict(x) * std + mean"
            ),
            "jax": (
                "mean, std = y_train.mean(), y_train.std()\n"
                "output = model.apply(params, x)  # prediction: output * std + mean\n"
                "loss = loss_fn(output, (y - mean) / std)"
            ),
        },
        "LeCun et al. (1998) Efficient backprop",
        cost="none",
        risk="predictions must be turned back with the same two numbers",
        settings={"mean": mean, "deviation": deviation},
    )
