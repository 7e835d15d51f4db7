"""Tracer: every operation of a step that is run again, forward and backward: which ones made what is not finite.

It stands below autograd (a dispatch mode), so that it sees what composite functions, autograd functions and the engine
itself compute. The node whose gradient is being computed, and the number that autograd gave it, lead back from an
operation of the backward pass to the line and the module of the forward pass.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import TorchDispatchMode

from gradscope_torch.names import Names
from gradscope_torch.replay.memory import Memory
from gradscope_torch.replay.operations import ADDING, CRITERIA, OPAQUE, SCALING, STEEP, UNWRITTEN
from gradscope_torch.replay.places import Place, kwargs_of, place_of
from gradscope_torch.replay.values import (
    BAD,
    MASKED,
    flat,
    floats,
    is_feature,
    is_mask,
    is_zero_one,
    key_of,
    plain,
    state_of,
)

COMMUNICATING = frozenset({"c10d", "_c10d_functional", "c10d_functional"})
"""The namespaces of operations that wait for other processes."""


@dataclass(slots=True)
class Site:
    """Where in the forward pass an operation was called. call: the number of the call on the tape, -1 of what
    checkpointing ran again. kept: what it was given, of STEEP ones."""

    op: str
    place: Place
    call: int
    kept: tuple[Any, ...] = ()


@dataclass(slots=True)
class Record:
    """One operation that made something that is not finite. node: that whose gradient it computed. made_by: indices of
    the records that made its bad inputs. foreign: bad inputs that nobody made in this step."""

    at: int
    op: str
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Tensor]
    site: Site
    backward: bool
    node: str = ""
    state: int = BAD
    masked: bool = False
    made_by: list[int] = field(default_factory=list)
    foreign: list[Tensor] = field(default_factory=list)


class Tracer(TorchDispatchMode):
    """The records of one replay, while it is entered. `call` is the number of the call on the tape that is running."""

    def __init__(self, names: Names):
        super().__init__()
        self.names = names
        self.records: list[Record] = []
        self.call = -1
        self.in_model = False
        self.passed_on: list[tuple[int, str]] = []
        """(index of the last record, name) of modules that were given what is not finite and passed it on."""
        self.recurrent: int | None = None
        """How many samples the first time-major recurrent layer was given."""
        self.last_layer: torch.nn.Module | None = None
        self._stack: list[torch.nn.Module] = []
        self._spans: list[tuple[int, int, torch.nn.Module]] = []
        self._begun: list[int] = []
        self._sites: dict[int, Site] = {}
        self._newest = -1
        self._looking = False
        self._threads: set[int] = set()
        self._layers: dict[int, torch.nn.Module] = {}
        self._memory = Memory()
        self._given: set[int] = set()
        self._handles: list[Any] = []

    def __enter__(self) -> Any:
        self._threads = {threading.get_ident()}
        self._handles = [
            torch_module.register_module_forward_pre_hook(self._enter_module),
            torch_module.register_module_forward_hook(self._leave_module, always_call=True),
        ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)

    # -- modules ---------------------------------------------------------------------------------------------------

    def _enter_module(self, module: torch.nn.Module, args: Any) -> None:
        if threading.get_ident() not in self._threads:
            return  # another one trains meanwhile
        if self._stack and not self.names.known(module):
            self.names.adopt(module, self._stack[-1])
        self._stack.append(module)
        self._begun.append(torch._C._autograd._get_sequence_nr())
        if self.recurrent is None and isinstance(module, torch.nn.RNNBase) and not module.batch_first:
            sequences = [t for t in args[:1] if isinstance(t, Tensor) and t.dim() == 3]
            self.recurrent = int(sequences[0].shape[1]) if sequences else None
        if torch._C._current_graph_task_id() == -1:
            self._looking = True
            given = [t for t in floats((args, kwargs_of(sys._getframe(1)))) if state_of(t) == BAD]
            if any(self._known_state(t) == BAD for t in given):
                self.passed_on.append((len(self.records), self.names.module(module)))
            self._looking = False

    def _leave_module(self, module: torch.nn.Module, _args: Any, _output: Any) -> None:
        if threading.get_ident() not in self._threads:
            return
        end = torch._C._autograd._get_sequence_nr()
        while self._stack:
            last, begun = self._stack.pop(), self._begun.pop()
            self._spans.append((begun, end, last))
            if last is module:
                break
        if self.in_model and not isinstance(module, CRITERIA) and not any(True for _ in module.children()):
            self.last_layer = module

    def made_by(self, tensor: Tensor) -> list[int]:
        """The indices of the records that made a tensor which is not finite: several, where each wrote a part of it."""
        return [w.at for w in self._memory.of(tensor) if w.state == BAD]

    def model_begins(self, given: Any) -> None:
        """A model is called by the step. given: its arguments."""
        self.in_model = True
        self._given = {key_of(t) for t in floats(given)}

    # -- operations ------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._looking:
            return func(*args, **kwargs)
        if func.namespace in COMMUNICATING:
            raise RuntimeError("the step communicates with other processes, which do not run it again")
        given = None
        taken = args
        if func._schema.is_mutable:
            given = self._bad_inputs(args, kwargs)
            if args and isinstance(args[0], Tensor) and func.overloadpacket.__name__.endswith("_"):
                taken = (args[0].detach().clone(), *args[1:])
        result = func(*args, **kwargs)
        self._note(func, taken, kwargs, result, given)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any, given: list[Tensor] | None) -> None:
        op = func.overloadpacket.__name__
        backward, node = self._place_in_backward()
        site = self._site(op, args, backward, node)
        if op in UNWRITTEN:
            return
        if not backward:
            self._label(site, args, result)
        bad = []
        for tensor in floats(result):
            if state_of(tensor) == BAD:
                bad.append(tensor)
            elif given is not None:
                self._memory.forget(tensor)
        if given is None:
            given = self._bad_inputs(args, kwargs) if bad else []
            taken = {key_of(t) for t in given}
            bad = [t for t in bad if key_of(t) not in taken]  # views, which write nothing
        if not bad:
            return
        name = node.name() if backward and node is not None else ""
        record = Record(len(self.records), op, func, args, kwargs, bad, site, backward, name)
        meant = not backward and self.in_model and not self._opaque(op, args)
        for tensor in given:
            writes = self._memory.of(tensor)
            if not writes and meant and self._is_mask(tensor, op, args):
                record.masked = True
            elif not writes:
                record.foreign.append(tensor)
            record.masked |= any(w.state == MASKED for w in writes)
            record.made_by += [w.at for w in writes if w.state == BAD]
        record.state = self._state(record, args, kwargs)
        self.records.append(record)
        for tensor in bad:
            self._memory.wrote(tensor, record.state, record.at)

    def _is_mask(self, tensor: Tensor, op: str, args: Any) -> bool:
        """Whether infinities that came from outside are there on purpose: not in what a model was given as data."""
        if not is_mask(tensor):
            return False
        alone = len(floats(args)) == 1
        prepared = op.rstrip("_") in SCALING or (alone and op.rstrip("_") == "add")
        return not (prepared and key_of(tensor) in self._given and is_feature(tensor))

    def _label(self, site: Site, args: Any, result: Any) -> None:
        """Notes which layer a tensor comes from: that which made it, or the one that its first input comes from."""
        inside = site.place.module if self.in_model and not isinstance(site.place.module, CRITERIA) else None
        layer = inside if inside is not None and not any(True for _ in inside.children()) else None
        if layer is None:
            layer = next((x for t in floats(args) if (x := self._layers.get(key_of(t))) is not None), inside)
        for tensor in floats(result):
            if layer is not None:
                self._layers[key_of(tensor)] = layer
            else:
                self._layers.pop(key_of(tensor), None)

    def layer_of(self, tensors: Any) -> torch.nn.Module | None:
        """The layer that the first of some tensors whose layer is known comes from; else the last one that ran."""
        found = (x for t in floats(tensors) if (x := self._layers.get(key_of(t))) is not None)
        return next(found, self.last_layer)

    def _state(self, record: Record, args: Any, kwargs: Any) -> int:
        """MASKED where infinities are there on purpose: written as constants, or made of such."""
        if record.made_by or record.foreign or self._opaque(record.op, args):
            return BAD
        if record.backward:
            return MASKED if record.op == "scalar_tensor" else BAD
        if any(bool(torch.isnan(plain(t)).any()) for t in record.outputs):
            return BAD
        constants = [v for v in (*flat(args), *flat(list(kwargs.values()))) if isinstance(v, float)]
        infinite = any(v in {float("inf"), float("-inf")} for v in constants)
        given = floats((args, kwargs))
        zero_one = record.op == "log" and given and not given[0].requires_grad and is_zero_one(given[0])
        return MASKED if record.masked or infinite or zero_one else BAD

    def _opaque(self, op: str, args: Any) -> bool:
        """Whether no infinite mask is meant for an operation: a product takes one only as what is added to it."""
        if op in ADDING:
            return any(state_of(t) == BAD for t in floats(args[1:]))
        return op in OPAQUE

    def _known_state(self, tensor: Tensor) -> int:
        writes = self._memory.of(tensor)
        if not writes:
            return MASKED if is_mask(tensor) else BAD
        return BAD if any(w.state == BAD for w in writes) else MASKED

    def _bad_inputs(self, args: Any, kwargs: Any) -> list[Tensor]:
        return [t for t in floats((args, kwargs)) if state_of(t) == BAD]

    def _place_in_backward(self) -> tuple[bool, Any]:
        """(whether the engine is computing a gradient, the node it is at); a forward pass that checkpointing runs
        again inside is none."""
        node = torch._C._current_autograd_node()
        if torch._C._current_graph_task_id() == -1:
            return False, None
        again = bool(self._stack) or (torch.is_grad_enabled() and node is None)
        return not again, node

    def _site(self, op: str, args: Any, backward: bool, node: Any) -> Site:
        if backward:
            number = node._sequence_nr() if node is not None else -1
            return self._sites.get(number) or Site(op, Place(self._module_at(number)), self.call)
        number = torch._C._autograd._get_sequence_nr() - 1
        if number <= self._newest and number in self._sites and self._sites[number].op == op:
            return self._sites[number]
        again = torch._C._current_graph_task_id() != -1
        site = Site(op, place_of(sys._getframe(3)), -1 if again else self.call)
        if number > self._newest:
            site.kept = args if op in STEEP else ()
            self._sites[number], self._newest = site, number
        return site

    def _module_at(self, number: int) -> torch.nn.Module | None:
        """The innermost module whose forward made the node of that number."""
        around = [s for s in self._spans if s[0] <= number < s[1]]
        return max(around, key=lambda s: s[0])[2] if around else None
