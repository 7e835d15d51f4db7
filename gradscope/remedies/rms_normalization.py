"""rms-normalization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import has_layer, is_network, recurrent
from gradscope.verdict import Remedy, Verdict


@remedy("exploding-gradient", "saturated-units", rank=60)
def rms_normalization(_verdict: Verdict, history: History) -> Remedy | None:
    """Layer normalization without the mean, for sequences; not beside another normalization."""
    if not is_network(history) or not (recurrent(history) or has_layer(history, "attention")):
        return None
    if has_layer(history, "norm"):
        return None
    return Remedy(
        "rms-normalization",
        "add normalization by the root mean square",
        "it holds the size of the signal as layer normalization does, without taking the mean away",
        {
            "torch": "self.norm = nn.RMSNorm(hidden)  # h = self.norm(h) after each layer or time step",
            "tensorflow": "self.norm = layers.RMSNormalization()  # h = self.norm(h) after each layer or time step",
            "jax": "h = nn.RMSNorm()(h)  # after each layer or time step",
        },
        "Zhang & Sennrich (2019) arXiv:1910.07467",
        cost="a root mean square per sample and layer, less than layer normalization",
        risk="a mean that drifts is not taken away",
    )
