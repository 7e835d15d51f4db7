"""orthogonal-initialization."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.usual import is_network, recurrent
from gradscope.verdict import Remedy, Verdict


@remedy("exploding-gradient", "poor-initialization", rank=25, usual={"gain": 1.0})
def orthogonal_initialization(_verdict: Verdict, history: History) -> Remedy | None:
    """An orthogonal recurrent matrix of gain one; for networks that have one."""
    if not is_network(history) or not recurrent(history):
        return None
    return Remedy(
        "orthogonal-initialization",
        "initialize recurrent matrices as orthogonal or identity, at gain 1",
        "a gain g acts once per time step: after 60 steps it is g ** 60",
        {
            "torch": (
                'for name, p in model.named_parameters():\n    if "weight_hh" in name:\n'
                "        nn.init.orthogonal_(p, gain=1.0)  # nn.init.eye_(p) for a ReLU RNN"
            ),
            "tensorflow": 'layers.SimpleRNN(units, recurrent_initializer="orthogonal")  # "identity" for ReLU',
            "jax": (
                "init = jax.nn.initializers.orthogonal(scale=1.0)\n"
                "recurrent = init(key, (hidden, hidden))  # jnp.eye(hidden) for a ReLU RNN\n"
                "cell = nn.SimpleCell(hidden, recurrent_kernel_init=init)  # in flax"
            ),
        },
        "Le et al. (2015) arXiv:1504.00941; Saxe et al. (2014) arXiv:1312.6120",
        cost="one decomposition per matrix, once",
        risk="none known",
        settings={"gain": 1.0},
    )
