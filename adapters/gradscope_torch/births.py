"""Births: from the records of a replay to the Origin of what is not finite."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import torch
from gradscope.origin import Operand, Origin
from torch import Tensor

from gradscope_torch.names import Names, variable_name
from gradscope_torch.operations import LOSSES, differentiated, written
from gradscope_torch.reasons import reason_of, reason_of_slope
from gradscope_torch.replay import Failure, unwrapped
from gradscope_torch.tape import Call, Tape, tensors_of
from gradscope_torch.tracer import Record, flat, floats, is_mask, key_of, plain, state_of

MOST_SAMPLES = 4096
LABEL = "_gradscope_name"
"""The attribute of a tensor from a bundle that says which variable of the user's held it."""


class Births:
    """What a failure says about where it came from."""

    def __init__(self, tape: Tape, failure: Failure, names: Names, step: int):
        self.tape = tape
        self.failure = failure
        self.records = failure.tracer.records
        self.names = names
        self.step = step
        several = len(tape.passes) > 1
        self.micro_batch = failure.number if several else None

    def origin(self) -> Origin:
        """The first operation that made something not finite, among those that led to the failure."""
        failure = self.failure
        if failure.unexplained:
            return self._made(
                "loss", **self._layer(failure.tracer.last_layer), reason="the loss cannot be made again here"
            )
        birth = self._birth()
        if birth is None:
            return self._made(failure.phase, parameter=next(iter(failure.parameters), None))
        foreign = [t for t in birth.foreign if not is_mask(t)]
        if foreign and not birth.backward:
            found = self._foreign(foreign[0], birth)
            if found is not None:
                return found
        return self._backward(birth) if birth.backward else self._forward(birth, bool(foreign))

    def _made(self, phase: str, **facts: Any) -> Origin:
        return Origin(phase, facts.pop("step", self.step), micro_batch=self.micro_batch, **facts)

    # -- which record ----------------------------------------------------------------------------------------------

    def _birth(self) -> Record | None:
        backward = self.failure.phase == "backward"
        waiting = [at for t in self.failure.targets if (at := self.failure.tracer.made_by(t)) is not None]
        seen: set[int] = set()
        births = []
        while waiting:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            record = self.records[at]
            causes = [c for c in record.made_by if self.records[c].backward or not backward]
            waiting += causes
            if not causes:
                births.append(record)
        return min(births, key=lambda r: r.at, default=None)

    # -- forward ---------------------------------------------------------------------------------------------------

    def _forward(self, birth: Record, foreign: bool) -> Origin:
        call = self._call(birth)
        module = birth.site.module
        in_loss = call is None or not call.is_model or birth.op.rstrip("_") in LOSSES
        text, _ = reason_of(birth)
        layer = self._layer(self.failure.tracer.last_layer if module is None or not self._in_model(birth) else module)
        lines = birth.site.lines
        source = lines.own or (layer["source"] if module is not None else None) or lines.library or lines.around
        layer["source"] = source if not in_loss else lines.around or source
        bad = ~torch.isfinite(plain(birth.outputs[0]))
        return self._made(
            "loss" if in_loss else "forward",
            op=written(birth.op, module),
            **layer,
            count=int(bad.sum()),
            inputs_finite=not foreign and not birth.masked,
            shapes=operands(birth),
            samples=self._samples(bad, call),
            spread=self._spread(birth.at, layer["module"]),
            reason=text,
        )

    def _in_model(self, birth: Record) -> bool:
        call = self._call(birth)
        return call is not None and call.is_model

    def _call(self, birth: Record) -> Call | None:
        at = birth.site.call
        return self.tape.calls[at] if 0 <= at < len(self.tape.calls) else None

    def _layer(self, module: torch.nn.Module | None) -> dict[str, Any]:
        if module is None:
            return {"module": "", "module_class": "", "source": None}
        return {
            "module": self.names.module(module),
            "module_class": type(module).__name__,
            "source": self.names.source(module),
        }

    def _spread(self, at: int, producer: str) -> tuple[str, ...]:
        later = [n for i, n in self.failure.tracer.passed_on if i > at and n and n != producer]
        return tuple(dict.fromkeys(later))

    # -- what came from outside ------------------------------------------------------------------------------------

    def _foreign(self, tensor: Tensor, birth: Record) -> Origin | None:
        """Weights that were broken before, or data that was."""
        key = key_of(tensor)
        for module in {id(c.target): c.target for c in self.tape.calls if c.is_model}.values():
            for p in unwrapped(module).parameters():
                if key_of(p) == key:
                    return self._weights(p)
            for path, b in unwrapped(module).named_buffers():
                if key_of(b) == key:
                    return self._buffer(unwrapped(module), path, b)
        for call in self.tape.calls:
            for name, held in arguments_of(call):
                if key_of(held) == key:
                    return self._data(name, held, call, birth)
        return None

    def _weights(self, parameter: Tensor) -> Origin:
        name, _ = self.names.parameter(parameter, "")
        owner = self.names.owner(parameter)
        bad = ~torch.isfinite(plain(parameter))
        since = "before the first step that was seen"
        if self.step:
            since = f"by the update of step {self.step - 1}, whose gradients were finite"
        return self._made(
            "parameter",
            **self._layer(owner),
            parameter=name,
            count=int(bad.sum()),
            inputs_finite=False,
            spread=self._spread(-1, ""),
            shapes=(operand("parameter", parameter),),
            reason=f"not finite {since}",
        )

    def _buffer(self, model: torch.nn.Module, path: str, buffer: Tensor) -> Origin:
        owner = model.get_submodule(path.rpartition(".")[0])
        return self._made(
            "parameter",
            **self._layer(owner),
            parameter=path,
            count=int((~torch.isfinite(plain(buffer))).sum()),
            inputs_finite=False,
            spread=self._spread(-1, ""),
            shapes=(operand("buffer", buffer),),
            reason="a buffer of the model is not finite",
        )

    def _data(self, name: str, tensor: Tensor, call: Call, birth: Record) -> Origin:
        bad = ~torch.isfinite(plain(tensor))
        shared = {
            "count": int(bad.sum()),
            "inputs_finite": False,
            "samples": rows_of(bad, batch_size(call) or tensor.shape[0] if tensor.dim() else None),
            "features": features_of(bad),
            "shapes": (operand(name, tensor),),
            "culprit": name,
        }
        if call.is_model:
            return self._made(
                "input",
                **self._layer(unwrapped(call.target)),
                spread=self._spread(-1, ""),
                **shared,
                reason=f"{name} of the batch holds {kinds_of(tensor)}",
            )
        layer = self._layer(self.failure.tracer.last_layer)
        layer["source"] = birth.site.lines.around or layer["source"]
        op = getattr(call.target, "__name__", "").strip("_")
        return self._made(
            "loss", op=written(op or birth.op), **layer, **shared, reason=f"{name} holds {kinds_of(tensor)}"
        )

    # -- backward --------------------------------------------------------------------------------------------------

    def _backward(self, birth: Record) -> Origin:
        call = self._call(birth)
        site = birth.site
        in_loss = site.module is None and call is not None and not call.is_model
        op = differentiated(birth.node, site.module) if birth.node else written(birth.op, site.module)
        if birth.node == "torch::autograd::AccumulateGrad":
            op = written(birth.op)
        text, where = reason_of_slope(op, site.kept)
        if not text:
            text, _ = reason_of(birth)
        layer = self._layer(self.failure.tracer.last_layer if in_loss else site.module)
        lines = site.lines
        source = (lines.own, layer["source"], lines.library, lines.around)
        layer["source"] = lines.around if in_loss else next((s for s in source if s), None)
        bad = ~torch.isfinite(plain(birth.outputs[0]))
        after = [self.names.module(r.site.module) for r in self.records[birth.at :] if r.backward and r.site.module]
        spread = [n for n in dict.fromkeys(after) if n and n != layer["module"]]
        return self._made(
            "backward",
            op=op,
            **layer,
            count=int(bad.sum()),
            inputs_finite=not birth.foreign and not birth.masked and not birth.made_by,
            shapes=operands(birth),
            samples=self._samples(bad if where is None else where, call),
            parameter=next(iter(self.failure.parameters), None),
            spread=tuple(spread),
            reason=text,
        )

    def _samples(self, bad: Tensor, call: Call | None) -> tuple[int, ...]:
        size = batch_size(call) if call is not None and call.is_model else None
        if size is None:
            sizes = [batch_size(c) for c in self.tape.calls if c.is_model]
            size = next((s for s in sizes if s), None)
        return rows_of(bad, size)


def rows_of(bad: Tensor, size: int | None) -> tuple[int, ...]:
    """The indices along the batch of what is marked; () where no dimension is the batch's."""
    if not size or not bad.dim():
        return ()
    shape = list(bad.shape)
    if size in shape[:2]:
        marked = bad.movedim(shape.index(size), 0).flatten(1) if bad.dim() > 1 else bad[:, None]
        found = marked.any(1).nonzero().flatten()
    elif shape[0] % size == 0:
        found = bad.reshape(size, -1).any(1).nonzero().flatten()
    else:
        return ()
    return tuple(found[:MOST_SAMPLES].tolist())


def features_of(bad: Tensor) -> tuple[int, ...]:
    """The indices along the last axis of a table or sequence, or the channels of images."""
    if bad.dim() < 2:
        return ()
    axis = 1 if bad.dim() > 3 else bad.dim() - 1
    found = bad.movedim(axis, 0).flatten(1).any(1).nonzero().flatten()
    return tuple(found[:MOST_SAMPLES].tolist())


def batch_size(call: Call) -> int | None:
    """The first dimension of the first tensor that a model was given."""
    return next((int(t.shape[0]) for _, t in arguments_of(call) if t.dim()), None)


def arguments_of(call: Call) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of what a call was given that no other call had made."""
    target = unwrapped(call.target).forward if call.is_model else call.target
    try:
        known = list(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        known = []
    for at, value in enumerate(call.args):
        yield from named(known[at] if at < len(known) else "", value, at)
    for key, value in call.kwargs.items():
        yield from named(key, value, 0)


def named(name: str, value: Any, at: int) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of a value and of what it holds; one without a name gets that of the user's variable."""
    if isinstance(value, Tensor):
        yield name or label(value) or variable_name(value, sys._getframe(1)) or f"argument {at}", value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield from named(f"{name}[{key!r}]", held, at)
    elif isinstance(value, list | tuple):
        for i, held in enumerate(value):
            yield from named(f"{name}[{i}]", held, at)
    else:
        for held in tensors_of(value):
            yield name, held


def label(tensor: Tensor) -> str | None:
    """The name of the variable that held a tensor from a bundle."""
    return getattr(tensor, LABEL, None)


def operands(record: Record) -> tuple[Operand, ...]:
    """What an operation took and made."""
    given = [operand("input", t) for t in flat((record.args, record.kwargs)) if isinstance(t, Tensor)]
    return (*given, *(operand("output", t) for t in record.outputs))


def operand(role: str, tensor: Tensor) -> Operand:
    """One tensor, as data."""
    finite = not floats(tensor) or not state_of(tensor)
    return Operand(role, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), finite)


def kinds_of(tensor: Tensor) -> str:
    """NaN, Inf or both, whichever a tensor holds."""
    values = plain(tensor)
    held = {"NaN": bool(torch.isnan(values).any()), "Inf": bool(torch.isinf(values).any())}
    return " and ".join(name for name, there in held.items() if there)
