"""Rehearsal: the surroundings in which a step is run again, so that nothing of it is left: gradients, hooks that act on
them, buffers, parameters, attributes of modules, random streams and compiled code are put aside, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from gradscope_torch import patches
from gradscope_torch.hook import unheard
from gradscope_torch.replay.belongings import Writes, belongings, undo_tensor
from gradscope_torch.replay.streams import same_streams


@contextlib.contextmanager
def rehearsal(models: Iterable[torch.nn.Module], leaves: Iterable[Tensor]) -> Iterator[None]:
    """Inside, models may be run and gone backward through. leaves: tensors beside their parameters."""
    modules = list({id(m): m for model in models for m in model.modules()}.values())
    parameters = {id(p): p for m in modules for p in m.parameters(recurse=False)} | {id(t): t for t in leaves}
    with contextlib.ExitStack() as stack:
        stack.enter_context(same_streams())
        stack.enter_context(patches.unheard())
        stack.enter_context(unheard())
        stack.enter_context(torch.enable_grad())
        stack.enter_context(uncompiled())
        stack.enter_context(same_gradients(list(parameters.values())))
        stack.enter_context(same_modules(modules, list(parameters.values())))
        yield


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """What torch.compile has compiled runs as it was written."""
    stance = getattr(torch.compiler, "set_stance", None)
    with stance("force_eager") if stance is not None else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def same_gradients(parameters: list[Tensor]) -> Iterator[None]:
    """Gradients are laid aside, and with them the hooks that act once they have been accumulated."""
    kept = [(p, p.grad, p._post_accumulate_grad_hooks) for p in parameters]
    for p in parameters:
        p.grad = None
        p._post_accumulate_grad_hooks = None
    try:
        yield
    finally:
        for p, gradient, hooks in kept:
            p.grad = gradient
            p._post_accumulate_grad_hooks = hooks


@contextlib.contextmanager
def same_modules(modules: list[torch.nn.Module], parameters: list[Tensor]) -> Iterator[None]:
    """What modules hold is put back: buffers, attributes, and parameters that are written to, with the count of writes
    to each; what was not written to is not touched."""
    buffers = [(m, name, b) for m in modules for name, b in m._buffers.items() if b is not None]
    undone = [undo_tensor(b) for _, _, b in buffers if not b.is_inference()]
    undone += [u for m in modules for u in belongings(m)]
    writes = Writes(parameters)
    try:
        with writes:
            yield
    finally:
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
        for undo in (*undone, *writes.undo):
            undo()
