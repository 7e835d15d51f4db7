"""What the forward pass of one step shows: per module its output, per activation its units, per loss call what enters.

Hooks and the function mode only note small tensors; `collect` are moved to the host in one transfer, after backward.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import torch
from gradscope.idle import Idle
from gradscope.lineage import Lineage
from gradscope.notes import MEASURED, activation_note, activation_subject, batch_size, input_note, layer_note
from gradscope.row import Note
from torch import Tensor
from torch.utils import _pytree as pytree

from gradscope_torch import measure
from gradscope_torch.names import Names

CONVOLUTIONAL = (
    torch.nn.modules.conv._ConvNd,
    torch.nn.modules.batchnorm._BatchNorm,
    torch.nn.modules.pooling._MaxPoolNd,
)


class Forward:
    """The notes of the running step. `active` says whether anything is noted at all."""

    def __init__(self, names: Names):
        self.names = names
        self.active = False
        self.stack: list[torch.nn.Module] = []
        self.notes: list[Note] = []
        self.classes: list[tuple[str, Tensor]] = []
        self.order = 0
        self.seen: set[str] = set()
        self.called: set[str] = set()
        self.batch_size = float("nan")
        self.half = False
        """Whether a module put out numbers of float16."""
        self.unseen = False
        """Whether modules run that cannot be looked at."""
        self._origins: dict[int, tuple[Any, Lineage]] = {}
        self._idle = Idle()

    def reset(self) -> None:
        """Forgets the step: no tensor of it is held afterwards."""
        self.notes.clear()
        self.classes.clear()
        self._origins.clear()
        self.seen.clear()
        self.order = 0
        self.batch_size = float("nan")
        self.half = False

    # -- origins ---------------------------------------------------------------------------------------------------

    def origin(self, tensor: Any) -> Lineage:
        """What is known about where a tensor came from."""
        found = self._origins.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else Lineage()

    def mark(self, tensor: Any, origin: Lineage) -> None:
        """Notes where a tensor came from."""
        if isinstance(tensor, Tensor):
            self._origins[id(tensor)] = (weakref.ref(tensor), origin)

    def current_module(self) -> str:
        """The dotted name of the innermost module that is running."""
        return self.names.module(self.stack[-1]) if self.stack else ""

    # -- modules ---------------------------------------------------------------------------------------------------

    def enter(self, module: torch.nn.Module) -> None:
        """A module begins its forward."""
        if self.stack and not self.names.known(module):
            self.names.adopt(module, self.stack[-1])
        self.stack.append(module)

    def leave(self, module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A module ended its forward (or raised)."""
        while self.stack and self.stack.pop() is not module:
            pass
        if not self.active or not torch.is_grad_enabled() or output is None:
            return
        if torch._C._current_graph_task_id() != -1:
            return  # activation checkpointing runs the forward a second time, inside backward
        name = self.names.module(module)
        self.called.add(name)
        leaves = [t for t in pytree.tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point()]
        self.half = self.half or any(t.dtype is torch.float16 for t in leaves)
        outputs = [t for t in leaves if t.requires_grad and t.numel() and not wrapped(t)]
        if not outputs:
            return
        own = any(True for _ in module.parameters(recurse=False))
        convolutional = isinstance(module, CONVOLUTIONAL)
        root = not self.stack and any(True for _ in module.parameters())
        for out in outputs:
            known = self.origin(out)
            if own:
                known = Lineage(type(module).__name__.lower(), name, convolutional)
            elif isinstance(module, torch.nn.modules.dropout._DropoutNd) and args:
                known = self.origin(args[0])
            if root:
                known = replace(known, is_output=True)
            self.mark(out, known)
        if not own and not root:
            return
        given = next((a for a in args if isinstance(a, Tensor)), None)
        self._note_module(module, name, outputs[0], given, root)
        if own and given is not None and given.is_floating_point() and not given.requires_grad and given.numel():
            self._note_input(module, name, given, convolutional)

    def _note_module(self, module: torch.nn.Module, name: str, out: Tensor, given: Tensor | None, root: bool) -> None:
        if name in self.seen:
            return
        self.seen.add(name)
        usable = given if given is not None and not wrapped(given) else None
        values = measure.output_statistics(out, usable)
        order = torch.full((1,), float(self.order), device=values.device)
        self.order += 1
        self.notes.append(
            layer_note(
                name,
                torch.cat([order, values]),
                shape=out.shape,
                type=type(module).__name__,
                source=self.names.source(module),
                operation=self.origin(out).operation,
                root=root,
                training=module.training,
                parameters=any(True for _ in module.parameters(recurse=False)),
            )
        )

    def _note_input(self, module: torch.nn.Module, name: str, given: Tensor, convolutional: bool) -> None:
        if wrapped(given):
            return
        self.batch_size = batch_size(given.shape)
        dimension = measure.channel_dimension(given, convolutional)
        values = measure.data_statistics(given, dimension)
        numbers = torch.cat([values, torch.full((1,), self.batch_size, device=values.device)])
        consumer, source = type(module).__name__, self.names.source(module)
        self.notes.append(input_note(name, numbers, shape=given.shape, consumer=consumer, source=source))

    # -- activations -----------------------------------------------------------------------------------------------

    def note_activation(self, operation: str, given: Any, out: Tensor) -> None:
        """One activation function was applied: its dead and its saturated units."""
        before = self.origin(given)
        layer = before.layer or self.current_module()
        self.mark(out, before.through(operation, layer, out.shape))
        if operation not in MEASURED or not out.requires_grad or not out.numel() or wrapped(out):
            return
        subject = activation_subject(operation, layer)
        if subject in self.seen:
            return
        self.seen.add(subject)
        found = [torch.full((), float(self.order), device=out.device)]
        if operation == "relu":
            found += [(out.detach() == 0).float().mean(), self._dead(subject, out, before.convolutional)]
        else:
            found.append(measure.saturated_fraction(out, operation))
        values = torch.stack(found)
        self.notes.append(activation_note(operation, layer, values, shape=out.shape, output=not self.stack))

    def _dead(self, subject: str, out: Tensor, convolutional: bool) -> Tensor:
        inactive, samples = measure.inactive_units(out, measure.channel_dimension(out, convolutional))
        dead = self._idle.dead(subject, inactive, samples)
        return torch.full((), float("nan"), device=out.device) if dead is None else dead.float().mean()


def wrapped(tensor: Tensor) -> bool:
    """Whether a function transform (vmap, grad, jvp) holds the tensor: its numbers may not leave the transform."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))
