"""Replay: runs the tape of a step again, under the tracer, until something is not finite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradscope_torch.names import Names
from gradscope_torch.replay.calls import Call, Pass, Slot, made_of, parts_of, slots_of, tensors_of
from gradscope_torch.replay.rehearsal import rehearsal
from gradscope_torch.replay.streams import set_streams
from gradscope_torch.replay.tape import Tape
from gradscope_torch.replay.tracer import Tracer
from gradscope_torch.replay.values import BAD, state_of

CHANGING = frozenset(
    {"__setitem__"} | {f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "div", "floordiv", "mod", "pow")}
) | {"__iand__", "__ior__", "__ixor__"}
"""Functions of operators that write in place."""
VIEWS = frozenset(
    [
        "__get__",
        "__getitem__",
        "chunk",
        "contiguous",
        "detach",
        "diagonal",
        "expand",
        "expand_as",
        "flatten",
        "hsplit",
        "movedim",
        "narrow",
        "permute",
        "reshape",
        "reshape_as",
        "select",
        "split",
        "squeeze",
        "swapaxes",
        "swapdims",
        "t",
        "tensor_split",
        "transpose",
        "unbind",
        "unflatten",
        "unfold",
        "unsqueeze",
        "view",
        "view_as",
        "view_as_complex",
        "view_as_real",
        "vsplit",
    ]
)
"""Functions whose result shares the memory of what they were given, or may."""
REENTRANT = "CheckpointFunctionBackward"


@dataclass(slots=True)
class Failure:
    """What a replay came to. phase: "forward" or "loss" when the loss is not finite, else "backward". targets: the
    tensors that are not finite, of the loss or of gradients. parameters: names of those whose gradient is not, in the
    order of the backward pass. unexplained: the loss cannot be made again, and what came from it is not finite."""

    phase: str
    tracer: Tracer
    number: int
    targets: list[Tensor]
    parameters: list[str] = field(default_factory=list)
    unexplained: bool = False


class Replay:
    """One run of a tape. Use under rehearsal()."""

    def __init__(self, tape: Tape, names: Names):
        self.tape = tape
        self.names = names
        self.tracer = Tracer(names)
        self.values: dict[int, Any] = {}
        self._done = 0

    def run(self) -> Failure | None:
        """The first backward pass of the step that fails; None when none of them does."""
        for number, one in enumerate(self.tape.passes):
            self._forward(one)
            found = self._look_at(one, number) or self._backward(one, number)
            if found is None and any(state_of(g) == BAD for _, g in one.gradients):
                found = Failure("loss", self.tracer, number, [], unexplained=True)
            if found is not None:
                return found
        return None

    # -- forward ---------------------------------------------------------------------------------------------------

    def _forward(self, one: Pass) -> None:
        wanted = needed(self.tape.calls[: one.calls], [p for p in self.tape.passes if p.calls <= one.calls])
        with self.tracer:
            while self._done < one.calls:
                call = self.tape.calls[self._done]
                if self._done in wanted:
                    self._call(call, self._done)
                self._done += 1

    def _call(self, call: Call, at: int) -> None:
        self.tracer.call = at
        target = unwrapped(call.target) if call.is_model else call.target
        args, kwargs = self._filled(call.args), self._filled(call.kwargs)
        if call.is_model:
            first = not any(c.target is call.target for c in self.tape.calls[:at])
            for state in call.states:
                if first or state.value.grad_fn is None:  # else it comes from an earlier call, with its gradients
                    state.put_back()
            self.tracer.model_begins((args, kwargs))
        with situation(call):
            result = target(*args, **kwargs)
        made = [args[0]] if len(call.results) == 1 and result is None else list(tensors_of(result))
        if len(made) != len(call.results):
            name = type(target).__name__ if call.is_model else getattr(target, "__name__", target)
            raise ValueError(f"{name} returned {len(call.results)} tensors then, and {len(made)} now")
        self.values.update(zip(call.results, made, strict=True))
        self.tracer.in_model = False

    def _filled(self, value: Any) -> Any:
        if isinstance(value, Slot):
            return self.values[value.number]
        if isinstance(value, Tensor):
            return value.detach().requires_grad_() if value.grad_fn is not None else value
        parts = parts_of(value)
        return value if parts is None else made_of(value, [self._filled(v) for v in parts])

    def _look_at(self, one: Pass, number: int) -> Failure | None:
        """Whether the loss is not finite, or where that is not known, what the models returned."""
        if one.traceable:
            ends = [self.values[s.number] for s in slots_of(one.losses)]
        else:
            ends = [
                self.values[s]
                for at, c in enumerate(self.tape.calls)
                for s in c.results
                if at < one.calls and c.is_model
            ]
        bad = [t for t in ends if t.is_floating_point() and state_of(t) == BAD]
        return Failure("forward", self.tracer, number, bad) if bad else None

    # -- backward --------------------------------------------------------------------------------------------------

    def _backward(self, one: Pass, number: int) -> Failure | None:
        if one.traceable:
            ends = [self.values[s.number] for s in slots_of(one.losses)]
            weights = self._weights(one.options, len(ends))
        else:
            sound = [(slot, g) for slot, g in one.gradients if state_of(g) != BAD]
            ends, weights = [self.values[slot] for slot, _ in sound], [g for _, g in sound]
        pairs = [(e, w) for e, w in zip(ends, weights, strict=True) if e.requires_grad]
        if not pairs:
            return None
        leaves = self.leaves()
        ends, weights = [e for e, _ in pairs], [w for _, w in pairs]
        with self.tracer:
            gradients = gradients_of(ends, weights, leaves, one.options)
        bad = [(self._order(g), g, p) for p, g in zip(leaves, gradients, strict=True) if g is not None and state_of(g)]
        if not bad:
            return None
        bad.sort(key=lambda found: found[0])
        named = [self.names.parameter(p, "")[0] for _, _, p in bad]
        return Failure("backward", self.tracer, number, [g for _, g, _ in bad], [n for n in named if n])

    def _order(self, gradient: Tensor) -> int:
        found = self.tracer.made_by(gradient)
        return max(found, default=len(self.tracer.records))

    def _weights(self, options: dict[str, Any], count: int) -> list[Any]:
        given = options.get("grad_tensors")
        if given is None:
            return [None] * count
        return list(given) if isinstance(given, list | tuple) else [given]

    def leaves(self) -> list[Tensor]:
        """What gradients are taken of: the models' parameters, and leaves that calls were given."""
        return leaves_of(self.tape)


def leaves_of(tape: Tape) -> list[Tensor]:
    """The parameters of the models on a tape, and the leaves that its calls were given."""
    held = [p for c in tape.calls if c.is_model for p in c.target.parameters()]
    held += [t for c in tape.calls for t in tensors_of([*c.args, *c.kwargs.values()]) if t.is_leaf]
    return list({id(t): t for t in held if t.requires_grad}.values())


def models_of(tape: Tape) -> list[torch.nn.Module]:
    """The models that were called."""
    return list({id(c.target): c.target for c in tape.calls if c.is_model}.values())


def gradients_of(ends: list[Any], weights: list[Any], leaves: list[Tensor], options: dict[str, Any]) -> list[Any]:
    """The gradient of every leaf, or None. Nothing is accumulated, unless reentrant checkpointing asks for it."""
    graph = {k: bool(options.get(k)) for k in ("retain_graph", "create_graph")}
    if any(has_node(e, REENTRANT) for e in ends):
        torch.autograd.backward(ends, weights, **graph)
        found = [p.grad for p in leaves]
        for p in leaves:
            p.grad = None
        return found
    return list(torch.autograd.grad(ends, leaves, weights, allow_unused=True, **graph))


def has_node(tensor: Tensor, name: str) -> bool:
    """Whether a node of that name is in the graph of a tensor."""
    seen: set[Any] = set()
    waiting = [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == name:
            return True
        seen.add(node)
        waiting += [n for n, _ in node.next_functions]
    return False


def needed(calls: list[Call], passes: list[Pass]) -> set[int]:
    """Indices of the calls that losses need; where a loss is not known, of all models and what they need. A call that
    writes to what is needed, or to a view of it, is needed too."""
    root = roots(calls)
    wanted = {s.number for p in passes for s in slots_of(p.losses)}
    written = {root.get(s, s) for s in wanted}
    opaque = any(not p.traceable for p in passes)
    found: set[int] = set()
    for at in reversed(range(len(calls))):
        call = calls[at]
        given = {s.number for s in slots_of((call.args, call.kwargs))}
        changes = writes(call) and not written.isdisjoint(root.get(s, s) for s in given)
        if changes or (opaque and call.is_model) or not wanted.isdisjoint(call.results):
            found.add(at)
            wanted |= given
            written |= {root.get(s, s) for s in given}
    return found


def roots(calls: list[Call]) -> dict[int, int]:
    """Slot -> the slot of the tensor whose memory it is a view of."""
    found: dict[int, int] = {}
    for call in calls:
        if call.is_model or not (writes(call) or getattr(call.target, "__name__", "") in VIEWS):
            continue
        base = next((s.number for s in slots_of(call.args[:1])), None)
        if base is not None:
            found |= dict.fromkeys(call.results, found.get(base, base))
    return found


def writes(call: Call) -> bool:
    """Whether a function changes what it was given, by its name: add_, __setitem__, __iadd__."""
    name = "" if call.is_model else getattr(call.target, "__name__", "")
    dunder = name.startswith("__") and name.endswith("__")
    return name in CHANGING if dunder else name.endswith("_")


def unwrapped(module: Any) -> Any:
    """A model without what compiles it, or averages its gradients over processes."""
    module = getattr(module, "_orig_mod", module)
    return module.module if isinstance(module, torch.nn.parallel.DistributedDataParallel) else module


@contextlib.contextmanager
def situation(call: Call) -> Iterator[None]:
    """The random streams, the autocast and the grad mode that a call was made in."""
    if call.streams is not None:
        set_streams(call.streams)
    with contextlib.ExitStack() as stack:
        if call.casting is not None:
            device, kind, cached = call.casting
            stack.enter_context(torch.autocast(device, kind, cache_enabled=cached))
        stack.enter_context(torch.set_grad_enabled(call.grad))
        yield


def replayed(tape: Tape, names: Names) -> Failure | None:
    """Runs a step again, and leaves everything as it was."""
    with rehearsal(models_of(tape), leaves_of(tape)):
        return Replay(tape, names).run()
