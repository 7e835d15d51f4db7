"""@remedy: a function from a verdict and its history to a Remedy, tied to rules by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gradscope.history import History
from gradscope.verdict import Remedy, Verdict

Suggest = Callable[[Verdict, History], Remedy | None]


@dataclass(frozen=True, slots=True)
class RemedySource:
    """A remedy that can be suggested: its name, the rules it answers, and the function that fits it to a run.

    rank orders the remedies of one rule: the lowest is told first. One without rules is told by no verdict: it is
    offered by its name, as in a trial. usual: the settings that it is applied with where no run tells them.
    """

    name: str
    rules: tuple[str, ...]
    suggest: Suggest
    rank: int = 50
    usual: Mapping[str, Any] = field(default_factory=dict)

    def asked(self) -> Remedy:
        """The remedy as somebody asks for it by its name, with its usual settings."""
        return Remedy(self.name, self.name.replace("-", " "), "asked for by its name", settings=dict(self.usual))


def remedy(*rules: str, rank: int = 50, usual: Mapping[str, Any] | None = None) -> Callable[[Suggest], RemedySource]:
    """Makes a RemedySource of a function; its name is the function's, in kebab-case."""

    def decorate(suggest: Suggest) -> RemedySource:
        return RemedySource(suggest.__name__.replace("_", "-"), rules, suggest, rank, usual or {})

    return decorate
