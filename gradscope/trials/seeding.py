"""Seeding: the random streams of one run. A program that asks for its seed gets it; one that sets its own is moved."""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import random
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from gradscope.imports import when_imported

STREAMS = {
    "numpy": ("random.seed",),
    "torch": ("manual_seed",),
    "tensorflow": ("random.set_seed",),
    "keras": ("utils.set_random_seed",),
}
"""What seeds the streams of each library."""
MAKERS = {"numpy": ("random.RandomState", "random.default_rng"), "jax": ("random.PRNGKey", "random.key")}
"""What makes a stream of its own from a number."""
SAID = "SEED"
"""The environment variable by which a program is told its seed, where it asks for it."""
APART = 1000
"""So far are the seeds of two runs moved from each other."""


def asks(texts: Iterable[str]) -> bool:
    """Whether a program reads its seed from the environment: os.environ["SEED"], os.environ.get, os.getenv."""
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            given = node.args if isinstance(node, ast.Call) else [node.slice] if isinstance(node, ast.Subscript) else []
            where = ast.unparse(node.func if isinstance(node, ast.Call) else node.value) if given else ""  # type: ignore[attr-defined]
            first = given[0] if given and where.endswith(("environ", "environ.get", "getenv")) else None
            if isinstance(first, ast.Constant) and first.value == SAID:
                return True
    return False


@contextlib.contextmanager
def seeded(seed: int, *, moving: bool) -> Iterator[None]:
    """Seeds every stream, of libraries that are imported later as soon as they are, and says so in the environment.

    moving: seeds that the program sets itself are moved by this one, so that runs of different seeds differ. At the end
    everything but the streams is as it was.
    """
    before = os.environ.get(SAID)
    os.environ[SAID] = str(seed)
    random.seed(seed)
    with contextlib.ExitStack() as restored, contextlib.ExitStack() as waiting:
        if moving and seed:
            move(random, "seed", seed, restored)
        for library in dict.fromkeys([*STREAMS, *MAKERS]):
            waiting.enter_context(when_imported(library, partial(seed_library, library, seed, restored, moving=moving)))
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(SAID, None)
            else:
                os.environ[SAID] = before


def seed_library(library: str, seed: int, restored: contextlib.ExitStack, *, moving: bool) -> None:
    """Seeds one library as soon as it is there, and moves what is seeded in it from then on."""
    for path in STREAMS.get(library, ()):
        holder, name = _found(library, path)
        getattr(holder, name)(seed)
    for path in (*STREAMS.get(library, ()), *MAKERS.get(library, ())) if moving and seed else ():
        move(*_found(library, path), seed, restored)


def _found(library: str, path: str) -> tuple[Any, str]:
    *parents, name = path.split(".")
    holder = sys.modules[library]
    for parent in parents:
        holder = getattr(holder, parent, None) or importlib.import_module(f"{library}.{parent}")
    return holder, name


def move(holder: Any, name: str, seed: int, restored: contextlib.ExitStack) -> None:
    """A seeding function that adds to what it is given, until `restored` is closed. A class stays one."""
    original = getattr(holder, name)

    def moved(value: Any = None, *args: Any, **kwargs: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return original(value + APART * seed if whole else value, *args, **kwargs)

    if isinstance(original, type):
        made = type(original.__name__, (original,), {"__init__": _moved_init(original, seed)})
        setattr(holder, name, made)
    else:
        setattr(holder, name, moved)
    restored.callback(setattr, holder, name, original)


def _moved_init(original: Any, seed: int) -> Any:
    def init(self: Any, value: Any = None, *args: Any, **kwargs: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        original.__init__(self, value + APART * seed if whole else value, *args, **kwargs)

    return init


def reseed(seed: int) -> None:
    """Seeds the streams of all libraries that are imported, once more."""
    random.seed(seed)
    for library, paths in STREAMS.items():
        if library in sys.modules and library != "keras":
            for path in paths:
                holder, name = _found(library, path)
                getattr(holder, name)(seed)
