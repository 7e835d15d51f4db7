"""Bundle: a step that failed, in a folder: bundle.json and safetensors files beside it. Nothing in it is code.

bundle.json says the versions, the step, the models, the calls that led to the loss with their arguments, the backward
passes, the optimizer and the origin as it was found; `files` tells the size and the SHA-256 of each other file, and
`sha256` that of bundle.json itself, written without this entry.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from gradscope.errors import BundleError
from gradscope.origin import Origin

from gradscope_torch.bundle.functions import name_of
from gradscope_torch.bundle.streams import write_streams
from gradscope_torch.bundle.tensors import Shelf
from gradscope_torch.bundle.values import Writer
from gradscope_torch.bundle.weights import plan_of, weights_of
from gradscope_torch.names import Names, clean
from gradscope_torch.replay.arguments import arguments_of
from gradscope_torch.replay.calls import Call, Pass
from gradscope_torch.replay.run import needed, unwrapped
from gradscope_torch.replay.tape import Tape
from gradscope_torch.sharding import is_sharded

FORMAT = 1
INDEX = "bundle.json"
TENSORS, WEIGHTS, OPTIMIZER, STREAMS = "tensors", "weights", "optimizer", "streams"
SHELVES = (TENSORS, WEIGHTS, OPTIMIZER, STREAMS)
MOST_TRIES = 1000


def save_bundle(folder: Path, tape: Tape, names: Names, optimizer: Any, step: int, origin: Origin | None) -> Path:
    """Writes the running step, whose weights are as before it, to a new folder in `folder`, and gives its path.

    It is written under another name first, so that there is a whole bundle or none. Raises OSError where it cannot be
    written, BundleError for weights that lie on several processes.
    """
    shelves = {name: Shelf() for name in SHELVES}
    index = Contents(tape, names, shelves).index(optimizer, step, origin)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".unfinished-{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        for name, shelf in shelves.items():
            shelf.write(unfinished / f"{name}.safetensors")
        index["files"] = {
            f"{name}.safetensors": entry(unfinished / f"{name}.safetensors", shelf) for name, shelf in shelves.items()
        }
        index["sha256"] = digest_of(index)
        (unfinished / INDEX).write_text(json.dumps(index, indent=1, allow_nan=False) + "\n", "utf-8")
        for name in index["files"]:
            (unfinished / name).chmod((unfinished / INDEX).stat().st_mode)
        return renamed(unfinished, folder, f"step-{step:06d}")
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def renamed(unfinished: Path, folder: Path, name: str) -> Path:
    """Gives a finished bundle a name that no other has."""
    for number in range(1, MOST_TRIES):
        target = folder / (name if number == 1 else f"{name}-{number}")
        if target.exists() or target.is_symlink():
            continue
        try:
            return unfinished.rename(target)
        except OSError:
            if not target.exists():
                raise
    raise OSError(f"{folder}: holds {MOST_TRIES} bundles of {name} already")


def entry(file: Path, shelf: Shelf) -> dict[str, Any]:
    """What is said of a file."""
    return {"bytes": file.stat().st_size, "sha256": digest_of_file(file), "tensors": shelf.details}


def digest_of_file(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(index: dict[str, Any]) -> str:
    """The SHA-256 of an index, without that entry, keys sorted."""
    rest = {k: v for k, v in index.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Contents:
    """Turns a tape into what is written of it."""

    def __init__(self, tape: Tape, names: Names, shelves: dict[str, Shelf]):
        self.tape = tape
        self.names = names
        self.shelves = shelves
        self.models = roots_of(tape, names)
        self.labels: dict[int, str] = {}
        held = {
            id(part.tensor): (at, path)
            for at, (model, _) in enumerate(self.models)
            for path, part in weights_of(model).items()
        }
        self.writer = Writer(shelves[TENSORS], held, lambda t: self.labels.get(id(t)))

    def index(self, optimizer: Any, step: int, origin: Origin | None) -> dict[str, Any]:
        """What bundle.json says, but for the files."""
        wanted = sorted(needed(self.tape.calls, self.tape.passes))
        missing = self.writer.missing
        if self.tape.lost:
            missing.append(f"the calls of the step: {self.tape.lost}")
        plans = [
            plan_of(model, name, f"{at}/", self.shelves[WEIGHTS], missing)
            for at, (model, name) in enumerate(self.models)
        ]
        calls = [self._call(self.tape.calls[at], f"call {number}") for number, at in enumerate(wanted)]
        return {
            "gradscope_bundle": FORMAT,
            "framework": "torch",
            "versions": versions(),
            "step": step,
            "models": [
                asdict(p) | {"prefix": self.names.module(m)} for p, (m, _) in zip(plans, self.models, strict=True)
            ],
            "calls": calls,
            "passes": [self._pass(one, wanted, f"backward pass {n}") for n, one in enumerate(self.tape.passes)],
            "optimizer": self._optimizer(optimizer),
            "origin": None if origin is None else origin.as_dict(),
            "missing": missing,
        }

    # -- calls -----------------------------------------------------------------------------------------------------

    def _call(self, call: Call, where: str) -> dict[str, Any]:
        self.labels.update({id(t): name for name, t in arguments_of(call)})
        noted: dict[str, Any] = self._target(call, where)
        noted["args"] = [self.writer.write(v, f"{where}, {said}") for said, v in self._said(call)]
        noted["kwargs"] = {k: self.writer.write(v, f"{where}, {k}") for k, v in call.kwargs.items()}
        noted["results"] = list(call.results)
        noted |= {"grad": call.grad, "differentiable": call.differentiable, "line": call.line}
        noted["overwritten"] = call.is_model and call.overwritten
        if call.casting is not None:
            device, kind, cached = call.casting
            noted["casting"] = [device, str(kind).removeprefix("torch."), cached]
        if call.streams is not None:
            noted["streams"] = write_streams(call.streams, self.shelves[STREAMS])
        return noted

    def _said(self, call: Call) -> Iterator[tuple[str, Any]]:
        for at, value in enumerate(call.args):
            yield f"argument {at}", value

    def _target(self, call: Call, where: str) -> dict[str, Any]:
        if call.is_model:
            target = unwrapped(call.target)
            for at, (model, _) in enumerate(self.models):
                path = next((p for p, m in model.named_modules() if unwrapped(m) is target), None)
                if path is not None:
                    return {"model": at, "path": clean(path)}
        name = name_of(call.target)
        if name is None:
            kind = f"{getattr(call.target, '__module__', '')}.{getattr(call.target, '__name__', call.target)}".strip(
                "."
            )
            self.writer.missing.append(f"{where}: {kind} is no function that a bundle may name")
            return {"unsaved": kind}
        return {"function": name}

    def _pass(self, one: Pass, wanted: list[int], where: str) -> dict[str, Any]:
        write = self.writer.write
        return {
            "losses": [write(t, f"{where}, loss {at}") for at, t in enumerate(one.losses)],
            "options": {k: write(v, f"{where}, {k}") for k, v in one.options.items()},
            "calls": sum(at < one.calls for at in wanted),
            "traceable": one.traceable,
            "gradients": [[slot, write(g, f"{where}, gradient of slot {slot}")] for slot, g in one.gradients],
        }

    # -- optimizer -------------------------------------------------------------------------------------------------

    def _optimizer(self, optimizer: Any) -> dict[str, Any]:
        kind = type(optimizer)
        writer = Writer(self.shelves[OPTIMIZER], {}, lambda _: None)
        groups, state = [], {}
        for number, group in enumerate(optimizer.param_groups):
            settings = {
                k: writer.write(v, f"optimizer, group {number}, {k}")
                for k, v in group.items()
                if k not in {"params", "param_names"}
            }
            known = [
                self.names.parameter(p, f"group {number} parameter {at}")[0] for at, p in enumerate(group["params"])
            ]
            groups.append({"parameters": known, "settings": settings})
            for name, p in zip(known, group["params"], strict=True):
                held = optimizer.state.get(p)
                if held:
                    state[name] = {str(k): writer.write(v, f"optimizer, {name}, {k}") for k, v in held.items()}
        self.writer.missing += writer.missing
        return {"class": f"{kind.__module__}.{kind.__qualname__}", "groups": groups, "state": state}


def roots_of(tape: Tape, names: Names) -> list[tuple[torch.nn.Module, str]]:
    """(model, name) of the roots that were called, or of which parts were. Raises BundleError for sharded weights."""
    found: dict[int, tuple[torch.nn.Module, str]] = {}
    roots = [(unwrapped(root), name) for root, name in names.roots.values()]
    for call in tape.calls:
        if not call.is_model:
            continue
        target = unwrapped(call.target)
        held = next(((r, n) for r, n in roots if any(unwrapped(m) is target for m in r.modules())), None)
        root, name = held or (target, names.module(target) or type(target).__name__.lower())
        found.setdefault(id(root), (root, name))
    whole = [root for root, _ in names.roots.values() if id(unwrapped(root)) in found]
    if is_sharded([*whole, *(root for root, _ in found.values())]):
        raise BundleError("its weights are sharded over processes, and none of them holds the whole of it")
    return list(found.values())


def versions() -> dict[str, str]:
    """What wrote the bundle."""
    try:
        own = version("gradscope-diagnostics")
    except PackageNotFoundError:
        own = "unknown"
    return {"gradscope": own, "torch": torch.__version__}
