"""replace-activation."""

from __future__ import annotations

from gradscope.history import History
from gradscope.origin import Origin
from gradscope.remedy import remedy
from gradscope.usual import is_network, kinds
from gradscope.verdict import Remedy, Verdict

UNBOUNDED = frozenset({"exponential", "exp"})


@remedy(
    "vanishing-gradient",
    "dead-units",
    "saturated-units",
    "non-finite-loss",
    "non-finite-gradient",
    rank=20,
    usual={"activation": "relu"},
)
def replace_activation(verdict: Verdict, history: History) -> Remedy | None:
    """An activation whose slope does not vanish, or which grows no faster than its input."""
    seen = kinds(history)
    if verdict.name.startswith("non-finite"):
        born = history.facts.get("origin")
        exponential = isinstance(born, Origin) and born.op.lower() in UNBOUNDED and born.module
        return _bounded() if exponential else None
    curved = any(k.startswith(("sigmoid", "tanh")) for k in seen)
    if not is_network(history) or (seen and not curved and not any("relu" in k for k in seen)):
        return None
    title = "replace the activation: sigmoid or tanh by ReLU, or by GELU"
    reason = "sigmoid passes a quarter of the gradient at most, so ten layers pass a millionth"
    torch, keras = "act = nn.ReLU()  # or nn.GELU()", 'layers.Dense(units, activation="relu")  # or "gelu"'
    jax, activation = "h = jax.nn.relu(h)  # or jax.nn.gelu(h)", "relu"
    if verdict.name == "dead-units" or not curved:
        title, reason = "replace ReLU by LeakyReLU or GELU", "a dead ReLU passes no gradient, so it never comes back"
        torch = "act = nn.LeakyReLU(0.1)  # or nn.GELU()"
        keras = "layers.LeakyReLU(negative_slope=0.1)  # or activation='gelu'"
        jax, activation = "h = jax.nn.leaky_relu(h, 0.1)  # or jax.nn.gelu(h)", "leaky_relu"
    return Remedy(
        "replace-activation",
        title,
        reason,
        {"torch": torch, "tensorflow": keras, "jax": jax},
        "Glorot et al. (2011) Deep sparse rectifier neural networks; Maas et al. (2013)",
        cost="none",
        risk="another activation wants another initialization",
        settings={"activation": activation},
    )


def _bounded() -> Remedy:
    return Remedy(
        "replace-activation",
        "replace the exponential between layers by ReLU or tanh",
        "exponentials of exponentials leave float32 after two or three layers",
        {
            "torch": "h = torch.relu(h)  # not torch.exp(h)",
            "tensorflow": 'layers.Dense(units, activation="relu")  # not "exponential"',
            "jax": "h = jax.nn.relu(h)  # not jnp.exp(h)",
        },
        "Glorot et al. (2011) Deep sparse rectifier neural networks",
        cost="none",
        risk="another activation wants another initialization",
        settings={"activation": "relu"},
    )
