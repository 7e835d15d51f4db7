"""standardize-input."""

from __future__ import annotations

import numpy as np

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("unscaled-input", "saturated-units", rank=10)
def standardize_input(_verdict: Verdict, history: History) -> Remedy | None:
    """Each feature to mean 0 and deviation 1, from the training data."""
    inputs = history["input"]
    rms = np.sqrt(inputs.column("mean") ** 2 + inputs.column("deviation") ** 2)
    if not rms.size:
        return None
    size = float(np.nanmax(np.nanmedian(rms, axis=0)))
    reason = f"the inputs have a root mean square of {size:.3g}; layers expect about 1"
    return Remedy(
        "standardize-input",
        "standardize the inputs",
        reason,
        {
            "torch": (
                "mean, std = x_train.mean(0), x_train.std(0)\n"
                "x_train = (x_train - mean) / (std + 1e-8)  # and x_test with the same numbers"
            ),
            "tensorflow": "norm = layers.Normalization()\nnorm.adapt(x_train)  # as the first layer of the model",
            "jax": (
                "mean, std = x_train.mean(0), x_train.std(0)\n"
                "x_train = (x_train - mean) / (std + 1e-8)  # and x_test with the same numbers"
            ),
        },
        "LeCun et al. (1998) Efficient backprop, section 4.3",
        cost="one pass over the training data",
        risk="evaluation must use the numbers of the training data",
    )
