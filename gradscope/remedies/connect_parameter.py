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
        "keep the computation between this module and the loss inside autograd",
        "detach(), .data, .item(), .numpy(), no_grad() and comparisons cut the graph; a module that "
        "never runs should go",
        {
            "torch": "features = encoder(x)  # no .detach(), .numpy() or torch.no_grad() on the way to the loss",
            "tensorflow": "features = encoder(x)  # inside the tape; no tf.stop_gradient() or .numpy() up to the loss",
        },
        "PyTorch: Autograd mechanics",
    )
