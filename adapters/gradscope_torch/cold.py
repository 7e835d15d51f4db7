"""Cold check: one pass of random inputs through a fresh model, forward and backward, and no training."""

from __future__ import annotations

from typing import Any

import torch
from gradscope.errors import CannotJudge, TargetError
from gradscope.gains import note_gains
from gradscope.scope import Scope
from gradscope.workload import Cold
from torch import Tensor
from torch.utils import _pytree as pytree

from gradscope_torch.session import Session


def cold(scope: Scope, target: Cold) -> None:
    """Fills a history with one step at learning rate zero; facts["layers"] holds the gain of each layer.

    Raises CannotJudge for a model without parameters, TargetError when the input does not fit the model.
    """
    with torch.random.fork_rng():
        torch.manual_seed(target.seed)
        with Session(scope) as session:
            model = target.build()
            if not isinstance(model, torch.nn.Module):
                raise TargetError(f"expected a torch.nn.Module, got {type(model).__name__}")
            parameters = [p for p in model.parameters() if p.requires_grad]
            if not parameters:
                raise CannotJudge(f"{type(model).__name__} has no parameter that requires a gradient")
            session.names.add_root(model, "model")
            gradients = gradient_hooks(model, session)
            output = first_tensor(forward(model, target))
            loss_of(output, target).backward()
            torch.optim.SGD(parameters, lr=0.0).step()
    note_gains(scope.histories[0], {name: float(gradient) for name, gradient in gradients.items()})


def gradient_hooks(model: torch.nn.Module, session: Session) -> dict[str, Tensor]:
    """Filled by backward: module -> RMS of the gradient that reaches its output, in order of execution."""
    found: dict[str, Tensor] = {}

    def watch_output(module: torch.nn.Module, _args: Any, output: Any) -> None:
        tensor = next((t for t in pytree.tree_leaves(output) if isinstance(t, Tensor) and t.requires_grad), None)
        name = session.names.module(module)
        if tensor is not None and name not in found:
            found[name] = torch.zeros(())
            tensor.register_hook(lambda g, name=name: found.__setitem__(name, g.detach().square().mean().sqrt()))

    for module in model.modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_hook(watch_output)
    return found


def forward(model: torch.nn.Module, target: Cold) -> Any:
    """The output for random inputs: normal numbers, or tokens where the first layer is an embedding."""
    shape = (target.batch, *target.input_shape)
    embedding = next((m for m in model.modules() if isinstance(m, torch.nn.Embedding | torch.nn.EmbeddingBag)), None)
    first = next((m for m in model.modules() if any(True for _ in m.parameters(recurse=False))), None)
    tokens = embedding is not None and first is embedding
    inputs = (
        torch.randint(0, embedding.num_embeddings, shape) if tokens and embedding is not None else torch.randn(shape)
    )
    try:
        return model(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        text = str(error).partition("\n")[0]
        raise TargetError(
            f"{type(model).__name__} does not take an input of shape {list(shape)} "
            f"(batch {target.batch}, --input-shape {','.join(map(str, target.input_shape))}): {text}"
        ) from error


def first_tensor(output: Any) -> Tensor:
    """The first tensor of an output that carries a gradient. Raises CannotJudge when there is none."""
    for leaf in pytree.tree_leaves(output):
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            return leaf
    raise CannotJudge("the output carries no gradient: is the model under no_grad, or frozen?")


def loss_of(output: Tensor, target: Cold) -> Tensor:
    """Cross-entropy against random classes, or half the mean square where no number of classes is given."""
    if target.classes is None:
        return output.float().square().mean() / 2
    scores = output.flatten(0, -2) if output.dim() > 2 else output
    if scores.dim() != 2 or scores.shape[1] != target.classes:
        raise TargetError(f"--classes {target.classes}: the output has shape {list(output.shape)}")
    return torch.nn.functional.cross_entropy(scores, torch.randint(0, target.classes, (len(scores),)))
