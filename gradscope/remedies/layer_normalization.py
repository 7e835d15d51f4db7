"""layer-normalization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import has_layer, is_network
from gradscope.verdict import Remedy, Verdict


@remedy("exploding-gradient", "saturated-units", rank=45)
def layer_normalization(_verdict: Verdict, history: History) -> Remedy | None:
    """Layer normalization, where batches are small or sequences run; not a second time."""
    if not is_network(history) or has_layer(history, "layernorm"):
        return None
    return Remedy(
        "layer-normalization",
        "add layer normalization",
        "it needs no batch statistics, so it fits recurrent layers and small batches",
        {
            "torch": "self.norm = nn.LayerNorm(hidden)  # h = self.norm(h) after each layer or time step",
            "tensorflow": "self.norm = layers.LayerNormalization()  # h = self.norm(h) after each layer or time step",
            "jax": "h = nn.LayerNorm()(h)  # after each layer or time step",
        },
        "Ba et al. (2016) arXiv:1607.06450",
        cost="a mean and a variance per sample and layer",
        risk="it takes away the size of the features, which a regression may need",
    )
