"""glorot-initialization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import is_network, kinds, recurrent
from gradscope.verdict import Remedy, Verdict


@remedy("poor-initialization", "dead-units", "vanishing-gradient", "exploding-gradient", rank=15)
def glorot_initialization(verdict: Verdict, history: History) -> Remedy | None:
    """Weights by Glorot, for networks of tanh and sigmoid; for none whose matrices are recurrent, nor where a gradient
    vanishes in sigmoids: their slope, of a quarter at most, does that with any weights."""
    seen = kinds(history)
    curved = any(k.startswith(("sigmoid", "tanh", "logsigmoid")) for k in seen)
    straight = any("relu" in k or k.startswith(("gelu", "silu", "elu")) for k in seen)
    if not is_network(history) or recurrent(history) or not curved or straight:
        return None
    if verdict.name == "vanishing-gradient" and any(k.startswith(("sigmoid", "logsigmoid")) for k in seen):
        return None
    return Remedy(
        "glorot-initialization",
        "initialize the weights by Glorot (Xavier), for tanh and sigmoid",
        "weights of deviation sqrt(2 / (fan-in + fan-out)) keep the signal at its size from layer to layer",
        {
            "torch": (
                "for m in model.modules():\n    if isinstance(m, (nn.Linear, nn.Conv2d)):\n"
                "        nn.init.xavier_normal_(m.weight)\n        if m.bias is not None:\n"
                "            nn.init.zeros_(m.bias)"
            ),
            "tensorflow": 'layers.Dense(units, kernel_initializer="glorot_normal")  # and Conv2D',
            "jax": (
                "init = jax.nn.initializers.glorot_normal()\n"
                "w, b = init(key, (n_in, n_out)), jnp.zeros(n_out)\n"
                "layer = nn.Dense(units, kernel_init=init)  # in flax; and nn.Conv"
            ),
        },
        "Glorot & Bengio (2010) Understanding the difficulty of training deep feedforward neural networks",
        cost="none",
        risk="sigmoids still pass a quarter of the gradient at most",
    )
