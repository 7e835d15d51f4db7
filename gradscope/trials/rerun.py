"""Rerun: one run of a changed program, as if its text stood in the file, from a seed. For a process of its own."""

from __future__ import annotations

import json
import linecache
import math
import sys
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from gradscope.check import check_script
from gradscope.errors import ScriptFailed
from gradscope.fit import fit_of
from gradscope.scope import Enough
from gradscope.script import open_script
from gradscope.settings import Settings
from gradscope.trials.seeding import asks, seeded


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. text: the changed program, run as if it stood in `path`. observed: under check, up to `steps`; else
    to its end, unobserved. result: a file for what was seen."""

    path: str
    text: str
    result: str
    arguments: tuple[str, ...] = ()
    seed: int = 0
    observed: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    overlay: dict[str, str] = field(default_factory=dict)
    """File -> text, of modules that are changed too."""


def perform(order: Order) -> None:
    """Runs an order, and writes what it saw to its file."""
    remember(order)
    with seeded(order.seed, moving=not asks([order.text, *order.overlay.values()])):
        found = observe(order) if order.observed else run(order)
    Path(order.result).write_text(json.dumps(found), "utf-8")


class Overlay(MetaPathFinder):
    """Finds modules where everybody does, and loads changed texts in the place of their files."""

    def __init__(self, texts: dict[str, str]):
        self.texts = texts

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec of a module whose text is changed; None for every other."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None or str(Path(spec.origin).resolve()) not in self.texts:
            return None
        spec.loader = Changed(name, spec.origin, self.texts[str(Path(spec.origin).resolve())])
        return spec


class Changed(SourceFileLoader):
    """Loads a text as if it stood in the file, without a look at what was compiled of that before."""

    def __init__(self, name: str, path: str, text: str):
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        """The code of the text."""
        return compile(self.text, self.get_filename(fullname), "exec", dont_inherit=True)


def remember(order: Order) -> None:
    """The changed text stands for the file wherever Python looks for source: in tracebacks, and for AutoGraph, which
    has files read once more before it looks (linecache.updatecache)."""
    texts = {str(Path(order.path).resolve()): order.text, **order.overlay}
    original = linecache.updatecache

    def updatecache(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
        if filename not in texts:
            return original(filename, module_globals)
        lines = [f"{x}\n" for x in texts[filename].split("\n")]
        linecache.cache[filename] = (len(texts[filename]), None, lines, filename)
        return lines

    linecache.updatecache = updatecache
    for name in texts:
        updatecache(name)
    if order.overlay:
        sys.meta_path.insert(0, Overlay(order.overlay))


def run(order: Order) -> dict[str, Any]:
    """Runs to the end."""
    script = open_script(Path(order.path), order.arguments, order.text)
    try:
        ending = script.run(Enough)
    except ScriptFailed as error:
        return {"failure": str(error).strip().rpartition("\n")[2]}
    return {"failure": f"left with exit code {ending.code}" if ending.code else None}


def observe(order: Order) -> dict[str, Any]:
    """Runs under check."""
    outcome = check_script(Path(order.path), order.arguments, Settings(**order.settings), text=order.text)
    report = outcome.report
    histories = outcome.scope.histories if outcome.scope is not None else []
    main = max(histories, key=lambda h: h.steps, default=None)
    fit = fit_of(main) if main is not None else None
    return {
        "failure": outcome.failure.strip().rpartition("\n")[2] if outcome.failure else None,
        "verdicts": [(v.name, str(v.severity)) for v in report.verdicts],
        "status": report.status,
        "fit": None if fit is None else fit.closing,
        "loss": None if main is None else last_loss(main),
    }


def last_loss(history: Any) -> float | None:
    """The median loss of the last tenth of the steps; None without one."""
    losses = history.run("loss")[-max(5, history.steps // 10) :]
    found = sorted(float(x) for x in losses if not math.isnan(x))
    return found[len(found) // 2] if found else None
