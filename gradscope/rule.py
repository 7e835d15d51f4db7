"""Rule: a pure function from a History to evidence, with its code, its name and its thresholds.

A rule is written as a decorated function whose keyword-only arguments are its thresholds and whose docstring is its
manual page. It never sees a tensor, a framework or a clock, and it writes no prose.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gradscope.errors import PluginError, SettingsError
from gradscope.verdict import Evidence

Judge = Callable[..., Iterator[Evidence]]

SECTIONS = ("What it does", "Why is this bad", "Thresholds", "Not flagged", "References")


class NotJudged(Exception):
    """Raised by a rule that cannot know; its text is the reason that the report shows."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One illness that can be recognised.

    code, name: stable ("GS101", "vanishing-gradient"). explains: names of the illnesses that this one brings about,
    so that they are ordered after it. judge: the function itself. thresholds: its keyword-only arguments.
    """

    code: str
    name: str
    judge: Judge
    explains: tuple[str, ...] = ()
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    plugin: str = "gradscope"

    @property
    def documentation(self) -> str:
        """The manual page: the docstring of the function."""
        return inspect.getdoc(self.judge) or ""

    @property
    def summary(self) -> str:
        """The first line of the manual page."""
        return self.documentation.partition("\n")[0].rstrip(".")

    def with_thresholds(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The thresholds with some replaced. Raises SettingsError for an unknown name or a wrong number.

        A threshold that is not negative by itself measures what cannot be.
        """
        merged = dict(self.thresholds)
        for key, value in given.items():
            if key not in merged:
                known = ", ".join(merged) or "none"
                raise SettingsError(f"{self.name}: there is no threshold {key!r}; known thresholds: {known}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise SettingsError(f"{self.name}.{key}: expected a number, got {value!r}")
            if not math.isfinite(value):
                raise SettingsError(f"{self.name}.{key}: expected a finite number, got {value!r}")
            if value < 0 <= self.thresholds[key]:
                raise SettingsError(f"{self.name}.{key}: expected a number from 0, got {value!r}")
            merged[key] = value
        return merged


def rule(code: str, *, explains: tuple[str, ...] = ()) -> Callable[[Judge], Rule]:
    """Makes a Rule of a function; its name is the function's, in kebab-case.

    Raises PluginError when a threshold is not keyword-only or has no default.
    """

    def decorate(judge: Judge) -> Rule:
        thresholds: dict[str, Any] = {}
        parameters = list(inspect.signature(judge).parameters.values())
        for p in parameters[1:]:
            if p.kind is not inspect.Parameter.KEYWORD_ONLY or p.default is inspect.Parameter.empty:
                raise PluginError(f"rule {code}: threshold {p.name!r} must be keyword-only and have a default")
            thresholds[p.name] = p.default
        return Rule(code, judge.__name__.replace("_", "-"), judge, tuple(explains), thresholds)

    return decorate
