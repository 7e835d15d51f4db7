"""Tape: how the loss of one step came about: calls of models, of functions outside of them, and backward passes.

It keeps what they were given, not what they returned, so that a step can be run again.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

import torch
from gradscope.frames import users_line
from torch import Tensor

from gradscope_torch.replay.calls import (
    PLAIN,
    Call,
    Pass,
    Slot,
    casting_now,
    made_of,
    parts_of,
    slots_of,
    tensors_of,
    versions_of,
)
from gradscope_torch.replay.states import States
from gradscope_torch.replay.streams import Habits, Streams

TOKEN = "gradscope tape"
"""The key of a graph node's metadata whose value lives as long as the node."""
PLACES = "gradscope places"
"""The key of a graph node's metadata that tells the slots of a model's outputs."""
MOST_BYTES = 2**30
"""What the models were given in a step of several backward passes is not kept beyond that."""
MOST_CALLS = 4096
"""A step of more calls outside of its models is not run again."""
IN_PLACE = frozenset({"__setitem__"})


class Token:
    """Something that can be referred to weakly."""

    __slots__ = ("__weakref__",)


class Tape:
    """The calls since the last step. Tensors are known by their identity while they are held."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.passes: list[Pass] = []
        self.lost = ""
        """Why the step cannot be run again."""
        self.leaks = False
        """Whether something that carries gradients came from elsewhere."""
        self._familiar = False
        self._known: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        """Slots by the identity of tensors, which are not held: with the last of them a graph is gone."""
        self._bare: set[int] = set()
        """Slots without a graph. One that has come by one since was returned by an autograd function of the user's."""
        self._count = self._bytes = 0
        self._habits = Habits()
        self._states = States()

    # -- recording -------------------------------------------------------------------------------------------------

    def model_begins(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """A model is called, outside of any other."""
        if self.calls:
            self._drop_dead()
        casting = casting_now()
        given, named = self._given(args), {k: self._one(v) for k, v in kwargs.items()}
        versions = versions_of((*given, *named.values()))
        self._bytes += sum(v.nbytes for v in (*given, *named.values()) if isinstance(v, Tensor))
        streams = self._habits.note(module)
        states = self._states.note(module)
        return Call(module, given, named, streams=streams, casting=casting, versions=versions, states=states)

    def model_ended(self, call: Call, output: Any) -> bool:
        """It returned; whether the call counts, for something of what it gave carries gradients."""
        if call.states:
            call.states = self._states.wrote(call.target, call.states)
        made = [output] if isinstance(output, Tensor) else list(tensors_of(output))
        node = next((n for t in made if (n := t.grad_fn) is not None), None)
        if node is None:
            return False
        token = Token()
        node.metadata[TOKEN] = token
        call.alive = weakref.ref(token)
        self._add(call, made)
        for slot, tensor in zip(call.results, made, strict=True):
            if tensor.grad_fn is not None:
                tensor.grad_fn.metadata.setdefault(PLACES, {})[tensor.output_nr] = slot
        return True

    def function(
        self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, streams: Streams | None
    ) -> None:
        """A function outside of the models returned; noted when it was given what is known. streams: those before it,
        of a function that draws from them."""
        self._familiar = False
        given, named = self._given(args), {k: self._one(v) for k, v in kwargs.items()} if kwargs else kwargs
        if not self._familiar or self.lost:
            return
        name = getattr(target, "__name__", "")
        result = args[0] if name in IN_PLACE else result
        made = [result] if isinstance(result, Tensor) else list(tensors_of(result))
        if not made:
            return
        if len(self.calls) >= MOST_CALLS:
            self.lost = f"more than {MOST_CALLS} calls were made outside of the models"
            return
        grad = torch.is_grad_enabled()
        line = users_line(sys._getframe(2))
        call = Call(target, given, named, streams=streams, casting=casting_now(), grad=grad, line=line)
        call.versions = versions_of((*given, *named.values()))
        call.differentiable = any(t.requires_grad for t in made)
        self._add(call, made)

    def backward(self, losses: tuple[Any, ...], options: dict[str, Any]) -> Pass:
        """backward() was called; options are its own. Where the loss cannot be made again, what enters the models'
        outputs is kept instead."""
        found = tuple(self._one(t) for t in losses)
        traceable = all(isinstance(t, Slot) for t in found)
        done = Pass(found, options, len(self.calls), traceable)
        self._use(done)
        self.passes.append(done)
        for call in self.calls:
            if call.is_model and call.used:
                self._habits.drew(call.target, call.streams)
        if self.calls and (self.leaks or not traceable):
            self._keep_gradients(done, losses)
        return done

    def backward_ended(self, done: Pass) -> None:
        """It is over: what it went through is held no more, unless it may be gone through again."""
        if self._bytes > MOST_BYTES and len(self.passes) > 1:
            self.lost = f"its micro-batches take more than {MOST_BYTES // 2**20} MiB, and were not kept"
            self.calls, self._known = [], {}
        if done.options.get("retain_graph") or done.options.get("create_graph"):
            return
        spent = {s for c in self.calls if c.used for s in c.results}
        self._known = {k: v for k, v in self._known.items() if v[1] not in spent}

    def step_ended(self) -> None:
        """The step is over: what led to its loss is forgotten."""
        self.calls = [c for c in self.calls if c.is_model and not c.used and c.alive is not None and c.alive()]
        kept = {s for c in self.calls for s in c.results}
        self._known = {k: v for k, v in self._known.items() if v[1] in kept}
        self.passes, self.lost, self.leaks, self._bytes = [], "", False, 0
        self._bare &= kept

    def clear(self) -> None:
        """Forgets everything."""
        self.calls = []
        self.step_ended()

    # -- the calls themselves --------------------------------------------------------------------------------------

    def _add(self, call: Call, made: list[Tensor]) -> None:
        first, self._count = self._count, self._count + len(made)
        call.results = tuple(range(first, self._count))
        for slot, tensor in enumerate(made, first):
            self._known[id(tensor)] = weakref.ref(tensor), slot
            if tensor.grad_fn is None:
                self._bare.add(slot)
        self.calls.append(call)

    def _given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([self._one(a) for a in args])

    def _one(self, value: Any) -> Any:
        """The value, its known tensors replaced."""
        if isinstance(value, Tensor):
            slot = self._slot(value)
            if slot is not None:
                self._familiar = True
                return slot
            if value.grad_fn is not None:
                self.leaks = True
            elif value.requires_grad:
                self._familiar = True  # a parameter, whose penalty is a part of the loss
            return value
        kind = type(value)
        if kind in PLAIN:
            return value
        parts = parts_of(value)
        if parts is not None:
            return made_of(value, [self._one(v) for v in parts])
        if any(t.grad_fn is not None for t in tensors_of(value)):
            self.lost = self.lost or f"a model was given a {kind.__name__} of tensors that carry gradients"
        return value

    def _slot(self, tensor: Tensor) -> Slot | None:
        reference, number = self._known.get(id(tensor), (None, -1))
        same = reference is not None and reference() is tensor
        if not same:
            return None
        return None if number in self._bare and tensor.grad_fn is not None else Slot(number)

    def _use(self, done: Pass) -> None:
        """Marks the calls that the gradients of a pass go through."""
        if not done.traceable:
            for call in self.calls:
                call.used = True
            return
        wanted = {s.number for s in slots_of(done.losses)}
        for call in reversed(self.calls):
            if call.differentiable and not wanted.isdisjoint(call.results):
                call.used = True
                wanted |= {s.number for s in slots_of((call.args, call.kwargs))}

    def _keep_gradients(self, done: Pass, losses: tuple[Any, ...]) -> None:
        """Keeps what enters the models' outputs, which may be gone by now: their nodes are found from the losses."""
        mine = {s for c in self.calls if c.is_model for s in c.results}
        waiting = [t.grad_fn for t in tensors_of(list(losses)) if t.grad_fn is not None]
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            places = {nr: slot for nr, slot in node.metadata.get(PLACES, {}).items() if slot in mine}
            if places:
                node.register_prehook(Keeper(done, places))
                continue
            following = {n for n, _ in node.next_functions if n is not None} - seen
            seen |= following
            waiting += following

    def _drop_dead(self) -> None:
        """Forgets calls whose graphs are gone: nobody went backward through them, and nobody can."""
        if not self.passes and any(c.alive is not None and c.alive() is None for c in self.calls):
            spent: set[int] = set()
            kept = []
            for call in self.calls:
                gone = call.alive is not None and call.alive() is None
                if gone or any(s.number in spent for s in slots_of((call.args, call.kwargs))):
                    spent.update(call.results)
                else:
                    kept.append(call)
            self.calls = kept
            self._known = {k: v for k, v in self._known.items() if v[1] not in spent}
        elif len(self.calls) >= MOST_CALLS and not self.lost:
            self.lost = f"the models were called more than {MOST_CALLS} times in one step"
            self.calls, self._known = [], {}


class Keeper:
    """A hook of a node that notes what enters a model's outputs in a pass. slots: by their place in the node."""

    def __init__(self, done: Pass, slots: dict[int, int]):
        self.done = weakref.ref(done)
        self.slots = slots

    def __call__(self, gradients: tuple[Tensor | None, ...]) -> None:
        done = self.done()
        if done is not None:
            done.gradients += [(s, g) for nr, s in self.slots.items() if (g := gradients[nr]) is not None]
