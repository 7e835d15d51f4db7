"""Runs the step of a bundle again, with a model that was built anew, and compares where it fails with where it did."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gradscope.errors import BundleError, GradscopeError
from gradscope.frames import is_users
from gradscope.origin import Origin
from gradscope.script import as_main, failing_as_script, import_package, open_script

from gradscope_torch.bundle.bounds import bounded
from gradscope_torch.bundle.models import models_in
from gradscope_torch.bundle.reading import Bundle, casting_of, load_bundle, target
from gradscope_torch.bundle.stands import Row, Unsaved
from gradscope_torch.bundle.streams import read_streams
from gradscope_torch.bundle.tensors import here
from gradscope_torch.bundle.values import Reader
from gradscope_torch.bundle.weights import fit, modules_of, other_numbers, weights_of
from gradscope_torch.bundle.writing import STREAMS, TENSORS, WEIGHTS, versions
from gradscope_torch.names import Names
from gradscope_torch.replay.births import Births
from gradscope_torch.replay.calls import Call, Pass, Slot, versions_of
from gradscope_torch.replay.run import Failure, replayed
from gradscope_torch.replay.tape import Tape
from gradscope_torch.source import Sources

COMPARED = ("phase", "op", "module", "parameter", "micro_batch", "culprit")
"""What two origins that are the same agree in: not in files and lines, which lie elsewhere."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of it. finite: no value was not. origin: where one was born now; saved: where it was then. notes:
    what else is to be known."""

    bundle: Path
    step: int
    finite: bool
    origin: Origin | None
    saved: dict[str, Any] | None
    notes: tuple[str, ...] = ()

    @property
    def differing(self) -> list[str]:
        """What the two origins do not agree in."""
        if self.origin is None or self.saved is None:
            return []
        now = self.origin.as_dict()
        return [k for k in COMPARED if now[k] != self.saved.get(k)]

    @property
    def same(self) -> bool | None:
        """Whether the origin is the same; None where one of them is not known."""
        return None if self.origin is None or self.saved is None else not self.differing

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "bundle": str(self.bundle),
            "step": self.step,
            "finite": self.finite,
            "same": self.same,
            "origin": None if self.origin is None else self.origin.as_dict(),
            "saved_origin": self.saved,
            "notes": list(self.notes),
        }


class SavedNames(Names):
    """Names as they were in the run, whose other roots are not here."""

    def __init__(self, sources: Sources, prefixes: list[str]):
        super().__init__(sources)
        self.prefixes = prefixes

    def _name_all(self, root: torch.nn.Module, _name: str, _several: bool) -> None:
        at = list(self.roots).index(id(root))
        super()._name_all(root, self.prefixes[at], True)


def replay(path: Path, file: Path, name: str | None = None, *, numbers: bool = False) -> Replayed:
    """Runs the step of a bundle again with the model of a file. numbers: attributes of modules that are numbers are set
    to what they were. Raises BundleError, TargetError, and ScriptFailed for what the user's code raises."""
    bundle = load_bundle(path)
    script = open_script(file)
    sources = Sources()
    with as_main(script, name=script.path.stem) as module:
        sources.install()
        try:
            with failing_as_script(script.path):
                import_package(script.package)
                exec(script.code, module.__dict__)
            models = models_in(module.__dict__, bundle.plans, file, name)
        finally:
            sources.remove()
        with failing_as_script(script.path):
            return rerun(bundle, models, sources, str(file), numbers)


def rerun(bundle: Bundle, models: list[torch.nn.Module], sources: Sources, where: str, numbers: bool) -> Replayed:
    """Runs the step of a bundle again with these models."""
    check_complete(bundle)
    notes = [f"not saved: {m}" for m in bundle.missing]
    notes += [
        f"saved with {k} {v}, replayed with {versions()[k]}"
        for k, v in bundle.versions.items()
        if versions().get(k, v) != v
    ]
    names = SavedNames(sources, [said["prefix"] for said in bundle.index["models"]])
    for at, (model, plan) in enumerate(zip(models, bundle.plans, strict=True)):
        place(model, bundle, at, notes)
        notes += fit(model, plan, f"{at}/", bundle.shelves[WEIGHTS], where)
        for path, module, attribute, value in other_numbers(model, plan):
            said = f"{path}.{attribute}" if path else attribute
            if numbers:
                setattr(module, attribute, value)
            else:
                notes.append(f"{said} is {getattr(module, attribute)!r}; it was {value!r} (--numbers sets it to that)")
        names.add_root(model, plan.name)
    tape, lost = Builder(bundle, models).tape()
    failure = run(tape, names, bundle, where)
    origin = None if failure is None else Births(tape, failure, names, bundle.step).origin()
    if failure is None and lost:
        raise BundleError(f"{bundle.path}: the models stay finite, and the rest cannot be run again: {'; '.join(lost)}")
    return Replayed(bundle.path, bundle.step, failure is None, origin, bundle.origin, tuple(dict.fromkeys(notes)))


def run(tape: Tape, names: Names, bundle: Bundle, where: str) -> Failure | None:
    """The failure, or None. Raises BundleError where a call cannot be made again for a reason that is none of the
    user's code; what that raises passes."""
    try:
        return replayed(tape, names)
    except GradscopeError:
        raise
    except Exception as error:
        if any(is_users(f.filename) for f in traceback.extract_tb(error.__traceback__)):
            raise
        why = f"{type(error).__name__}: {error}"
        raise BundleError(f"{bundle.path}: the step cannot be run again with {where}: {why}") from error


def check_complete(bundle: Bundle) -> None:
    """Raises BundleError for a bundle in which there is nothing to run."""
    calls, passes = bundle.index["calls"], bundle.index["passes"]
    if not passes or not any("model" in c for c in calls):
        why = "; ".join(map(str, bundle.missing)) or "no call of a model led to a loss"
        raise BundleError(f"{bundle.path}: holds no step that can be run again: {why}")


def place(model: torch.nn.Module, bundle: Bundle, at: int, notes: list[str]) -> None:
    """Moves a model to where it was, where that is here."""
    details = bundle.shelves[WEIGHTS].details
    saved = {d["device"] for key, d in details.items() if key.startswith(f"{at}/") and "device" in d}
    gone = sorted(name for name in saved if here(name).type != torch.device(name).type)
    notes += [f"saved on {name}, replayed on the CPU" for name in gone]
    if len(saved) == 1 and not gone:
        model.to(here(next(iter(saved))))


class Builder:
    """Makes a tape of a bundle, for models that fit it."""

    def __init__(self, bundle: Bundle, models: list[torch.nn.Module]):
        self.bundle = bundle
        self.modules = [modules_of(m) for m in models]
        self.weights = [weights_of(m) for m in models]
        self._tensors: dict[str, torch.Tensor] = {}
        self._reader = Reader(self._tensor, self._weight, lambda number, _: Slot(number))

    def tape(self) -> tuple[Tape, list[str]]:
        """(the tape, what of it cannot be run again). Where a loss cannot be made again, its backward pass begins at
        what the models returned."""
        tape, lost = Tape(), []
        for at, said in enumerate(self.bundle.index["calls"]):
            call = self._call(said, f"{self.bundle.path}: call {at}")
            if call is None:
                lost.append(f"call {at}: {said.get('unsaved') or said.get('function')}")
            tape.calls.append(call or Call(nothing, (), {}))
        gone = [at for at, call in enumerate(tape.calls) if call.target is nothing]
        for at, said in enumerate(self.bundle.index["passes"]):
            one = self._pass(said, f"{self.bundle.path}: pass {at}")
            if one.traceable and any(g < one.calls for g in gone):
                one.traceable, one.losses = False, ()
            tape.passes.append(one)
        return tape, lost

    def _call(self, said: dict[str, Any], where: str) -> Call | None:
        """A call, or None for one that cannot be made again. Raises BundleError for such a call of a model."""
        args = tuple(self._reader.read(said["args"], f"{where}: args"))
        kwargs = {k: self._reader.read(v, f"{where}: {k}") for k, v in said["kwargs"].items()}
        kind = unsaved_in((args, kwargs))
        called = target(self.bundle, said, where)
        if "model" in said:
            if kind:
                told = next((m for m in self.bundle.missing if kind in str(m)), f"a {kind} could not be saved")
                raise BundleError(f"{where}: the model cannot be called again: {told}")
            at, path = called
            if path not in self.modules[at]:
                raise BundleError(f"{where}: the model has no part {path!r}, which was called")
            called = self.modules[at][path]
        elif kind or called is None:
            return None
        else:
            called = bounded(called, where)
        casting = casting_of(said, where)
        if casting is not None:
            casting = (here(casting[0]).type, *casting[1:])
        streams = said.get("streams")
        return Call(
            called,
            args,
            kwargs,
            results=tuple(said["results"]),
            streams=None if streams is None else read_streams(streams, self.bundle.shelves[STREAMS], where),
            casting=casting,
            grad=said["grad"],
            differentiable=said["differentiable"],
            line=said["line"],
            versions=(-1,) if said["overwritten"] else versions_of((*args, *kwargs.values())),
        )

    def _pass(self, said: dict[str, Any], where: str) -> Pass:
        options = {k: self._reader.read(v, f"{where}: {k}") for k, v in said["options"].items()}
        gradients = [(slot, self._reader.read(g, where)) for slot, g in said["gradients"]]
        gradients = [(slot, g) for slot, g in gradients if isinstance(g, torch.Tensor)]
        losses = tuple(self._reader.read(said["losses"], where))
        return Pass(losses, options, said["calls"], said["traceable"], gradients)

    def _tensor(self, key: str, _where: str) -> torch.Tensor:
        if key not in self._tensors:
            self._tensors[key] = self.bundle.shelves[TENSORS].get(key)
        return self._tensors[key]

    def _weight(self, pair: list[Any], where: str) -> Any:
        part = self.weights[pair[0]].get(pair[1])
        if part is None:
            raise BundleError(f"{where}: the model has no {pair[1]!r}")
        return part.tensor


def nothing() -> None:
    """Stands for a function that a bundle could not name."""


def unsaved_in(value: Any) -> str:
    """The class of something that could not be saved, "" where there is none."""
    if isinstance(value, Unsaved):
        return value.kind
    held: Any = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | Row) else ()
    return next((kind for kind in map(unsaved_in, held) if kind), "")
