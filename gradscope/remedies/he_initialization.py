"""he-initialization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import is_network, kinds, recurrent
from gradscope.verdict import Remedy, Verdict


@remedy("poor-initialization", "dead-units", "vanishing-gradient", "exploding-gradient", rank=15)
def he_initialization(_verdict: Verdict, history: History) -> Remedy | None:
    """Weights by He; not for networks of tanh and sigmoid alone, nor for those whose matrices are recurrent."""
    seen = kinds(history)
    curved = any(k.startswith(("sigmoid", "tanh", "logsigmoid")) for k in seen)
    straight = any("relu" in k or k.startswith(("gelu", "silu", "elu")) for k in seen)
    if not is_network(history) or (recurrent(history) and not straight) or (curved and not straight):
        return None
    return Remedy(
        "he-initialization",
        "initialize the weights by He, for ReLU",
        "weights of deviation sqrt(2 / fan-in) keep the signal at its size from layer to layer",
        {
            "torch": (
                "for m in model.modules():\n    if isinstance(m, (nn.Linear, nn.Conv2d)):\n"
                '        nn.init.kaiming_normal_(m.weight, nonlinearity="relu")\n        if m.bias is not None:\n'
                "            nn.init.zeros_(m.bias)"
            ),
            "tensorflow": 'layers.Dense(units, kernel_initializer="he_normal")  # and Conv2D',
            "jax": (
                "init = jax.nn.initializers.he_normal()\n"
                "w, b = init(key, (n_in, n_out)), jnp.zeros(n_out)\n"
                "layer = nn.Dense(units, kernel_init=init)  # in flax; and nn.Conv"
            ),
        },
        "He et al. (2015) arXiv:1502.01852",
        cost="none",
        risk="branches that add up, or a large last layer, still make the signal grow",
    )
