"""connect-parameter."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("missing-gradient", rank=10)
def connect_parameter(_verdict: Verdict, _history: History) -> Remedy | None:
    """Keep the graph between the parameter and the loss."""
    return Remedy(
        "connect-parameter",
        "keep the computation between this module and the loss differentiable",
        "values cut out of the graph, detours by numpy or Python numbers, regions without gradients and comparisons "
        "carry no gradient; a module that never runs should go",
        {
            "torch": "features = encoder(x)  # no .detach(), .data, .item(), .numpy(), torch.no_grad() up to the loss",
            "tensorflow": "features = encoder(x)  # inside the tape; no tf.stop_gradient() or .numpy() up to the loss",
            "jax": "features = encoder(params, x)  # no jax.lax.stop_gradient(), np.asarray(), float() up to the loss",
        },
        "PyTorch: Autograd mechanics",
        cost="the backward pass through the part that was cut off",
        risk="what was cut off on purpose (a target network, a frozen base) must stay so",
    )
