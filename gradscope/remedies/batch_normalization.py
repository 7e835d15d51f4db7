"""batch-normalization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import convolutional, has_layer, is_network, recurrent
from gradscope.verdict import Remedy, Verdict


@remedy("vanishing-gradient", "exploding-gradient", "dead-units", "saturated-units", "poor-initialization", rank=25)
def batch_normalization(_verdict: Verdict, history: History) -> Remedy | None:
    """Batch normalization between a layer and its activation; not for recurrent networks, nor a second time."""
    if not is_network(history) or recurrent(history) or has_layer(history, "batchnorm"):
        return None
    dense = "nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU()", "layers.Dense(n_out, use_bias=False)"
    images = "nn.Conv2d(n_in, n_out, 3), nn.BatchNorm2d(n_out), nn.ReLU()", "layers.Conv2D(n_out, 3, use_bias=False)"
    torch, keras = images if convolutional(history) else dense
    layer = "nn.Conv(n_out, (3, 3), use_bias=False)" if convolutional(history) else "nn.Dense(n_out, use_bias=False)"
    return Remedy(
        "batch-normalization",
        "add batch normalization before the activations",
        "it keeps the signal of every layer at variance one, whatever the weights are",
        {
            "torch": f"nn.Sequential({torch})",
            "tensorflow": f"keras.Sequential([{keras}, layers.BatchNormalization(), layers.ReLU()])",
            "jax": (
                f"h = nn.BatchNorm(use_running_average=not train)({layer}(h))\n"
                'h = nn.relu(h)  # model.apply(..., mutable=["batch_stats"]) while it trains'
            ),
        },
        "Ioffe & Szegedy (2015) arXiv:1502.03167",
        cost="a mean and a variance per channel and batch, about a tenth of the time of a step",
        risk="noisy in batches under 16 samples; evaluation uses running statistics, which must have been learnt",
    )
