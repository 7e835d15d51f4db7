"""gradscope's own rules, remedies and reporters, found by folder and handed in by the hooks that strangers use."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import TypeVar

import gradscope.remedies
import gradscope.reporters
import gradscope.rewrites
import gradscope.rules
from gradscope.history import History
from gradscope.hookspecs import hookimpl
from gradscope.program.names import with_imports
from gradscope.reference.adapter import NumpyAdapter
from gradscope.remedy import RemedySource
from gradscope.reporter import Reporter
from gradscope.rewriting import Rewrite, Site
from gradscope.rule import Rule
from gradscope.verdict import Remedy, Verdict

T = TypeVar("T")


def discover(package: ModuleType, kind: type[T]) -> list[T]:
    """All values of a kind in the modules of a package, in the order of their files."""
    found: list[T] = []
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        found += [v for v in vars(module).values() if isinstance(v, kind) and v not in found]
    return found


@cache
def remedy_sources() -> tuple[RemedySource, ...]:
    """The built-in remedies, in the order they are told."""
    return tuple(sorted(discover(gradscope.remedies, RemedySource), key=lambda r: (r.rank, r.name)))


@cache
def rewrites() -> dict[str, Rewrite]:
    """The built-in changes of sources, by the name of their remedy."""
    return {r.name: r for r in discover(gradscope.rewrites, Rewrite)}


@hookimpl
def gradscope_rules() -> list[Rule]:
    """The rules of gradscope/rules/, by code."""
    return sorted(discover(gradscope.rules, Rule), key=lambda r: r.code)


@hookimpl
def gradscope_reporters() -> list[Reporter]:
    """The formats of gradscope/reporters/."""
    return discover(gradscope.reporters, Reporter)


@hookimpl
def gradscope_adapters() -> list[NumpyAdapter]:
    """The reference, which numpy is enough for."""
    return [NumpyAdapter()]


@hookimpl
def gradscope_suggest_remedies(verdict: Verdict, history: History) -> list[Remedy]:
    """What gradscope/remedies/ holds for the rule of this verdict."""
    told = (source.suggest(verdict, history) for source in remedy_sources() if verdict.name in source.rules)
    return [rewritable(remedy, verdict, history) for remedy in told if remedy is not None]


def rewritable(remedy: Remedy, verdict: Verdict, history: History) -> Remedy:
    """The remedy with what changes the source of a program accordingly, where gradscope/rewrites/ holds that."""
    found = rewrites().get(remedy.name)
    if found is None or remedy.rewrite is not None:
        return remedy
    site = Site(verdict, history, remedy.settings)
    variants = tuple(rewritable(v, verdict, history) for v in remedy.variants)
    return replace(remedy, rewrite=lambda source: with_imports(found.apply(source, site)), variants=variants)
