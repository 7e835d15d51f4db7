"""batch-normalization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("vanishing-gradient", "exploding-gradient", "dead-units", "saturated-units", "poor-initialization", rank=40)
def batch_normalization(_verdict: Verdict, _history: History) -> Remedy | None:
    """Batch normalization between a layer and its activation."""
    return Remedy(
        "batch-normalization",
        "add batch normalization before the activations",
        "it keeps the signal of every layer at variance one, whatever the weights are",
        {"torch": "nn.Sequential(nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU())"},
        "Ioffe & Szegedy (2015) arXiv:1502.03167",
    )
