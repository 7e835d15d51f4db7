"""register-parameter."""

from __future__ import annotations

from gradscope.history import History
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

STEP = (
    "grads = tape.gradient(loss, model.trainable_variables)\n"
    "optimizer.apply_gradients(zip(grads, model.trainable_variables))"
)
CLEARED = (
    "clear the gradients before backward(), not between backward() and step()",
    "zero_grad() runs between backward() and step(), so there is nothing to step along",
    "optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
    STEP,
)
LOOSE = (
    "hand the parameter to the optimizer",
    "it gets gradients, but no optimizer holds it (a list instead of nn.ModuleList, or a module left out)",
    "self.layers = nn.ModuleList(layers)\noptimizer = torch.optim.Adam([*a.parameters(), *b.parameters()])",
    STEP,
)
REPLACED = (
    "build the optimizer after the layer was replaced",
    "the optimizer still holds the parameter of a layer that is in no model any more",
    "model.fc = nn.Linear(n_in, n_out)\noptimizer = torch.optim.Adam(model.parameters())  # after the replacement",
    "model = keras.Model(inputs, new_outputs)\nmodel.compile(optimizer, loss)  # after the replacement",
)
UNMOVED = (
    "look why the optimizer leaves the parameter as it is",
    "the optimizer holds it, but its value never changes: a learning rate of zero, or steps under its resolution",
    "for group in optimizer.param_groups:\n    print(group['lr'], len(group['params']))",
    "print(float(optimizer.learning_rate), len(model.trainable_variables))",
)


@remedy("unchanged-parameter", rank=10)
def register_parameter(verdict: Verdict, _history: History) -> Remedy | None:
    """Hand every trained parameter to the optimizer."""
    quantity = verdict.evidence[0].quantity
    title, reason, torch, keras = UNMOVED
    if "cleared between" in quantity:
        title, reason, torch, keras = CLEARED
    elif "no optimizer" in quantity:
        title, reason, torch, keras = LOOSE
    elif "in no model" in quantity:
        title, reason, torch, keras = REPLACED
    return Remedy(
        "register-parameter",
        title,
        reason,
        {"torch": torch, "tensorflow": keras},
        "torch.nn.ModuleList; torch.optim.Optimizer.add_param_group",
    )
