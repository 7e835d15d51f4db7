"""he-initialization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import is_network, kinds, recurrent
from gradscope.verdict import Remedy, Verdict


@remedy("poor-initialization", "dead-units", "vanishing-gradient", "exploding-gradient", rank=15)
def he_initialization(_verdict: Verdict, history: History) -> Remedy | None:
    """He initialization for ReLU, Glorot for networks of tanh and sigmoid; for none whose matrices are recurrent."""
    seen = kinds(history)
    curved = any(k.startswith(("sigmoid", "tanh", "logsigmoid")) for k in seen)
    straight = any("relu" in k or k.startswith(("gelu", "silu", "elu")) for k in seen)
    if not is_network(history) or (recurrent(history) and not straight):
        return None
    reason = "weights of deviation sqrt(2 / fan-in) keep the signal at its size from layer to layer"
    title, torch, keras = "by He, for ReLU", 'nn.init.kaiming_normal_(m.weight, nonlinearity="relu")', "he_normal"
    if curved and not straight:
        reason = "weights of deviation sqrt(2 / (fan-in + fan-out)) keep the signal at its size from layer to layer"
        title, torch, keras = (
            "by Glorot (Xavier), for tanh and sigmoid",
            "nn.init.xavier_normal_(m.weight)",
            "glorot_normal",
        )
    return Remedy(
        "he-initialization",
        f"initialize the weights {title}",
        reason,
        {
            "torch": (
                "for m in model.modules():\n    if isinstance(m, (nn.Linear, nn.Conv2d)):\n"
                f"        {torch}\n        if m.bias is not None:\n            nn.init.zeros_(m.bias)"
            ),
            "tensorflow": f'layers.Dense(units, kernel_initializer="{keras}")  # and Conv2D',
            "jax": (
                f"init = jax.nn.initializers.{keras}()\n"
                "w, b = init(key, (n_in, n_out)), jnp.zeros(n_out)\n"
                "layer = nn.Dense(units, kernel_init=init)  # in flax; and nn.Conv"
            ),
        },
        "He et al. (2015) arXiv:1502.01852; Glorot & Bengio (2010)",
    )
