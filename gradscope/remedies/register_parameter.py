"""register-parameter."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict


@remedy("unchanged-parameter", rank=10)
def register_parameter(verdict: Verdict, _history: History) -> Remedy | None:
    """Hand every trained parameter to the optimizer."""
    quantity = verdict.evidence[0].quantity
    if "cleared between" in quantity:
        reason = "zero_grad() runs between backward() and step(), so there is nothing to step along"
        code = "optimizer.zero_grad()\nloss.backward()\noptimizer.step()"
    elif "no optimizer" in quantity:
        reason = "it gets gradients, but no optimizer holds it (a list instead of nn.ModuleList, or a module left out)"
        code = "self.layers = nn.ModuleList(layers)\noptimizer = torch.optim.Adam([*a.parameters(), *b.parameters()])"
    else:
        reason = (
            "the optimizer holds it, but its value never changes: "
            "a learning rate of zero, or steps under its resolution"
        )
        code = "for group in optimizer.param_groups:\n    print(group['lr'], len(group['params']))"
    return Remedy(
        "register-parameter",
        "hand the parameter to the optimizer, and step before clearing",
        reason,
        {"torch": code},
        "torch.nn.ModuleList; torch.optim.Optimizer.add_param_group",
    )
