"""The doors for plugins. Every hook returns a list; all lists are joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from gradscope.history import History
    from gradscope.rule import Rule
    from gradscope.verdict import Remedy, Verdict

PROJECT = "gradscope"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def gradscope_rules() -> list[Rule]:  # type: ignore[empty-body]
    """The rules that this plugin brings."""


@hookspec
def gradscope_suggest_remedies(verdict: Verdict, history: History) -> list[Remedy]:  # type: ignore[empty-body]
    """What may cure this verdict, best first; an empty list when this plugin knows nothing."""


@hookspec
def gradscope_reporters() -> list[Any]:  # type: ignore[empty-body]
    """The report formats that this plugin brings (see gradscope.reporter.Reporter)."""


@hookspec
def gradscope_adapters() -> list[Any]:  # type: ignore[empty-body]
    """The frameworks that this plugin connects (see gradscope.adapter.Adapter); must not import them."""
