"""register-parameter."""

from __future__ import annotations

from gradscope.history import History
from gradscope.moving import QUANTITY
from gradscope.optimizers import is_by_hand, step_lines
from gradscope.remedy import remedy
from gradscope.verdict import Remedy, Verdict

STEP = (
    "grads = tape.gradient(loss, model.trainable_variables)\n"
    "optimizer.apply_gradients(zip(grads, model.trainable_variables))"
)
CLEARED = (
    "clear the gradients before the backward pass, not between it and the step",
    "they are cleared after the backward pass, so there is nothing to step along",
    "optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
    STEP,
    "loss, grads = jax.value_and_grad(loss_fn)(params, x, y)\n{step}",
)
LOOSE = (
    "hand the parameter to the optimizer",
    "it gets gradients, but no optimizer holds it (layers in a plain list, or a module left out)",
    "self.layers = nn.ModuleList(layers)  # a plain list hides them\n"
    "optimizer = torch.optim.Adam([*a.parameters(), *b.parameters()])",
    STEP,
    "params = {'encoder': encoder_params, 'head': head_params}  # all in one tree\nstate = optimizer.init(params)",
)
REPLACED = (
    "build the optimizer after the layer was replaced",
    "the optimizer still holds the parameter of a layer that is in no model any more",
    "model.fc = nn.Linear(n_in, n_out)\noptimizer = torch.optim.Adam(model.parameters())  # after the replacement",
    "model = keras.Model(inputs, new_outputs)\nmodel.compile(optimizer, loss)  # after the replacement",
    "state = optimizer.init(params)  # after the replacement",
)
UNMOVED = (
    "look why the optimizer leaves the parameter as it is",
    "the optimizer holds it, but its value never changes: a learning rate of zero, or steps under its resolution",
    "for group in optimizer.param_groups:\n    print(group['lr'], len(group['params']))",
    "print(float(optimizer.learning_rate), len(model.trainable_variables))",
    "{step}  # a new tree: keep it, return it\n{norms}",
)
MOVING = (
    "update the moving statistics in every training step",
    "they are as they began, and evaluation normalizes by them",
    "self.running_mean.lerp_(mean.detach(), 0.1)  # a buffer, while self.training",
    "self.moving_mean.assign(0.9 * self.moving_mean + 0.1 * mean)  # in call(), if training",
    "",
)
LEFT_OUT = (
    "take the gradients with respect to the weights, and step those",
    "the optimizer steps the input alone, which the next batch overwrites",
    "optimizer = torch.optim.Adam(model.parameters())",
    STEP,
    "loss, grads = jax.value_and_grad(loss_fn)(params, x, y)  # the first argument is what is differentiated",
)
NORMS = "print(jax.tree.map(jnp.linalg.norm, {}))  # zero: a mask, a rate of zero, a stopped gradient"


@remedy("unchanged-parameter", rank=10)
def register_parameter(verdict: Verdict, history: History) -> Remedy | None:
    """Hand every trained parameter to the optimizer."""
    quantity = verdict.evidence[0].quantity
    title, reason, torch, keras, jax = UNMOVED
    if "cleared between" in quantity:
        title, reason, torch, keras, jax = CLEARED
    elif "no optimizer" in quantity:
        title, reason, torch, keras, jax = LOOSE
    elif "in no model" in quantity:
        title, reason, torch, keras, jax = REPLACED
    elif "what enters the model" in quantity:
        title, reason, torch, keras, jax = LEFT_OUT
    elif quantity == QUANTITY:
        title, reason, torch, keras, jax = MOVING
    norms = NORMS.replace("{}", "grads" if is_by_hand(history) else "updates")
    return Remedy(
        "register-parameter",
        title,
        reason,
        {
            "torch": torch,
            "tensorflow": keras,
            "jax": jax.replace("{step}", step_lines(history)).replace("{norms}", norms),
        },
        "torch.nn.ModuleList; torch.optim.Optimizer.add_param_group",
        cost="the optimizer's state for what is added",
        risk="a layer that is frozen on purpose would be trained too",
    )
