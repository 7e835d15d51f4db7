"""Rehearsal: the surroundings in which a step is run again, so that nothing of it is left: gradients, hooks that act on
them, buffers, counters of modules, random streams and compiled code are put aside, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from gradscope_torch import patches
from gradscope_torch.hook import unheard
from gradscope_torch.replay.streams import same_streams

SIMPLE = (int, float, bool, str, tuple, type(None), Tensor)
"""What attributes of a module are put back: those that a forward pass replaces."""


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
        stack.enter_context(same_modules(modules))
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
def same_modules(modules: list[torch.nn.Module]) -> Iterator[None]:
    """Buffers and simple attributes are put back; a buffer that was not written to is not touched."""
    buffers = [
        (m, name, b, b._version, b.detach().clone()) for m in modules for name, b in m._buffers.items() if b is not None
    ]
    attributes = [(m, {k: v for k, v in vars(m).items() if isinstance(v, SIMPLE)}, copies_of(m)) for m in modules]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, version, values in buffers:
                module._buffers[name] = buffer
                if buffer._version != version or not torch.equal(buffer, values):
                    buffer.copy_(values)
        for module, held, containers in attributes:
            for key, value in held.items():
                if vars(module).get(key) is not value:
                    vars(module)[key] = value
            for container, content in containers:
                if len(container) != len(content):
                    refill(container, content)


def copies_of(module: torch.nn.Module) -> list[tuple[Any, Any]]:
    """(list or dict that a module holds as an attribute, a copy)."""
    held = [v for k, v in vars(module).items() if not k.startswith("_") and type(v) in {list, dict}]
    return [(v, v.copy()) for v in held]


def refill(container: Any, content: Any) -> None:
    """Gives a list or dict what it held before."""
    container.clear()
    container.extend(content) if isinstance(container, list) else container.update(content)
