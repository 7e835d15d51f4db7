"""Births: from the records of a replay to the Origin of what is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from gradscope.origin import Operand, Origin
from torch import Tensor

from gradscope_torch.names import Names
from gradscope_torch.replay.arguments import arguments_of, batch_of, is_square
from gradscope_torch.replay.calls import Call
from gradscope_torch.replay.memory import covers, same_place
from gradscope_torch.replay.operations import CRITERIA, LOSSES, differentiated, written
from gradscope_torch.replay.reasons import reason_of, reason_of_slope
from gradscope_torch.replay.run import Failure, needed, unwrapped, writes
from gradscope_torch.replay.samples import Batch, features_of, rows_of
from gradscope_torch.replay.tape import Tape
from gradscope_torch.replay.tracer import Record
from gradscope_torch.replay.values import flat, floats, key_of, kinds_of, plain, state_of


class Births:
    """What a failure says about where it came from."""

    def __init__(
        self,
        tape: Tape,
        failure: Failure,
        names: Names,
        step: int,
        fate: Callable[[Tensor], str] = lambda _parameter: "before the step",
    ):
        """fate: tells in words since when a parameter is not finite."""
        self.fate = fate
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
        found = self._foreign(birth.foreign[0], birth) if birth.foreign else None
        if found is None:
            found = self._backward(birth) if birth.backward else self._forward(birth, bool(birth.foreign))
        written_to = self._written_to()
        if written_to:
            reason = "; ".join(x for x in (found.reason, f"what {written_to} was given was written to since") if x)
            found = replace(found, samples=(), features=(), reason=reason)
        return found

    def _written_to(self) -> str:
        """Which call that led to the failure was given something that holds other values by now; "" of none."""
        done = self.tape.passes[: self.failure.number + 1]
        calls = [self.tape.calls[at] for at in needed(self.tape.calls[: done[-1].calls], done)]
        changed = [c for c in calls if not writes(c) and c.overwritten]
        if any(c.is_model for c in changed):
            return "the model"
        return next((getattr(c.target, "__name__", "the loss").strip("_") for c in changed), "")

    def _made(self, phase: str, **facts: Any) -> Origin:
        return Origin(phase, facts.pop("step", self.step), micro_batch=self.micro_batch, **facts)

    # -- which record ----------------------------------------------------------------------------------------------

    def _birth(self) -> Record | None:
        waiting = [at for t in self.failure.targets for at in self.failure.tracer.made_by(t)]
        seen: set[int] = set()
        births = []
        while waiting:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            record = self.records[at]
            waiting += record.made_by
            if not record.made_by:
                births.append(record)
        return min(births, key=lambda r: r.at, default=None)

    # -- forward ---------------------------------------------------------------------------------------------------

    def _forward(self, birth: Record, foreign: bool) -> Origin:
        call = self._call(birth)
        place = birth.site.place
        inside = call.is_model if call is not None else place.module is not None
        in_loss = not inside or birth.op.rstrip("_") in LOSSES
        text, where = reason_of(birth)
        layered = inside and not isinstance(place.module, CRITERIA)
        layer = self._layer(place.module if layered else self.failure.tracer.layer_of((birth.args, birth.kwargs)))
        layer["source"] = self._source(birth, layer["source"])
        bad = ~torch.isfinite(plain(birth.outputs[0]))
        return self._made(
            "loss" if in_loss else "forward",
            op=place.whole or written(birth.op, place.module),
            **layer,
            count=int(bad.sum()),
            inputs_finite=not foreign and not birth.masked,
            shapes=operands(birth),
            **self._where(bad if bad.dim() or where is None else where, call),
            spread=self._spread(birth.at, layer["module"]),
            reason=text,
        )

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

    def _source(self, birth: Record, created: str | None) -> str | None:
        """The line of an operation; created: where its layer was made."""
        call, place = self._call(birth), birth.site.place
        if call is not None and not call.is_model:
            return call.line
        known = (place.own, created, place.library, place.around)
        return next((line for line in known if line), None)

    def _spread(self, at: int, producer: str) -> tuple[str, ...]:
        later = [n for i, n in self.failure.tracer.passed_on if i > at and n and n != producer]
        return tuple(dict.fromkeys(later))

    # -- what came from outside ------------------------------------------------------------------------------------

    def _foreign(self, tensor: Tensor, birth: Record) -> Origin | None:
        """Weights that were broken before, or data that was."""
        candidates = list(self._candidates(birth))
        found = holder(tensor, [held for held, _ in candidates])
        return next((tell() for held, tell in candidates if held is found), None)

    def _candidates(self, birth: Record) -> Iterator[tuple[Tensor, Callable[[], Origin]]]:
        """(what a step was given, what is told of it), in the order in which they are believed."""
        for module in {id(c.target): unwrapped(c.target) for c in self.tape.calls if c.is_model}.values():
            for p in module.parameters():
                yield p, partial(self._weights, p)
            for path, b in module.named_buffers():
                yield b, partial(self._buffer, module, path, b)
        for call in self.tape.calls:
            for name, given in arguments_of(call):
                yield given, partial(self._data, name, given, call, birth)

    def _weights(self, parameter: Tensor) -> Origin:
        name, _ = self.names.parameter(parameter, "")
        owner = self.names.owner(parameter)
        bad = ~torch.isfinite(plain(parameter))
        return self._made(
            "parameter",
            **self._layer(owner),
            parameter=name,
            count=int(bad.sum()),
            inputs_finite=False,
            spread=self._spread(-1, ""),
            shapes=(operand("parameter", parameter),),
            reason=f"not finite {self.fate(parameter)}",
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
            "samples": rows_of(bad, self._batch(call, tensor)),
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
        layer = self._layer(self.failure.tracer.layer_of((birth.args, birth.kwargs)))
        layer["source"] = call.line or layer["source"]
        op = getattr(call.target, "__name__", "").strip("_")
        return self._made(
            "loss", op=written(op or birth.op), **layer, **shared, reason=f"{name} holds {kinds_of(tensor)}"
        )

    # -- backward --------------------------------------------------------------------------------------------------

    def _backward(self, birth: Record) -> Origin:
        call = self._call(birth)
        place = birth.site.place
        in_loss = place.module is None and call is not None and not call.is_model
        op = differentiated(birth.node, place.module) if birth.node else written(birth.op, place.module)
        if birth.node == "torch::autograd::AccumulateGrad":
            op = written(birth.op)
        text, where = reason_of_slope(op, birth.site.kept)
        if not text:
            text, _ = reason_of(birth)
        op = place.whole or op
        layer = self._layer(self.failure.tracer.layer_of(birth.site.kept) if in_loss else place.module)
        layer["source"] = self._source(birth, layer["source"])
        bad = ~torch.isfinite(plain(birth.outputs[0]))
        later = [r.site.place.module for r in self.records[birth.at :] if r.backward]
        after = [self.names.module(m) for m in later if m is not None]
        spread = [n for n in dict.fromkeys(after) if n and n != layer["module"]]
        return self._made(
            "backward",
            op=op,
            **layer,
            count=int(bad.sum()),
            inputs_finite=not birth.foreign and not birth.masked and not birth.made_by,
            shapes=operands(birth),
            **self._where(bad if where is None else where, call),
            parameter=next(iter(self.failure.parameters), None),
            spread=tuple(spread),
            reason=text,
        )

    def _batch(self, call: Call | None, tensor: Tensor | None = None) -> Batch | None:
        """The batch that the model of a call was given, or the first model of which it is known. tensor: what is to
        blame, whose own first dimension counts where nothing else tells."""
        models = [c for c in self.tape.calls if c.is_model]
        own = [call] if call is not None and call.is_model else []
        found = (batch_of(c, self.failure.tracer.recurrent) for c in (*own, *models))
        batch = next((b for b in found if b is not None), None)
        if batch is None and tensor is not None and self.failure.tracer.recurrent is None:
            return Batch(int(tensor.shape[0])) if tensor.dim() and not is_square(tensor) else None
        return batch

    def _where(self, bad: Tensor, call: Call | None) -> dict[str, tuple[int, ...]]:
        """Samples and features of what is marked. A feature counts where others are sound."""
        batch = self._batch(call)
        size = batch.size if batch is not None else 0
        if bad.dim() == 1 and (batch is None or bad.shape[0] != size * batch.before):
            features = tuple(bad.nonzero().flatten().tolist())
            return {"samples": (), "features": features if len(features) < len(bad) else ()}
        features = features_of(bad) if bad.dim() > 1 and size in bad.shape[:2] else ()
        whole = bad.dim() > 1 and len(features) == bad.shape[1 if bad.dim() > 3 else -1]
        return {"samples": rows_of(bad, batch), "features": () if whole else features}


def holder(tensor: Tensor, candidates: Iterable[Tensor]) -> Tensor | None:
    """The candidate that is not finite and whose memory a tensor is: the same, or that which holds all of it, or a
    part of it."""
    near = [c for c in candidates if key_of(c) == key_of(tensor) and floats(c) and state_of(c)]
    same = [c for c in near if same_place(c, tensor)]
    around = [c for c in near if covers(c, tensor)]
    return next(iter((*same, *around, *near)), None)


def operands(record: Record) -> tuple[Operand, ...]:
    """What an operation took and made."""
    given = [operand("input", t) for t in flat((record.args, record.kwargs)) if isinstance(t, Tensor)]
    return (*given, *(operand("output", t) for t in record.outputs))


def operand(role: str, tensor: Tensor) -> Operand:
    """One tensor, as data."""
    finite = not floats(tensor) or not state_of(tensor)
    return Operand(role, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), finite)
