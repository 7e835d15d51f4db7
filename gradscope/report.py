"""Report: the whole answer as data. Reporters only turn it into text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from gradscope.verdict import Severity, Verdict, finite_or_text

HEALTHY, UNHEALTHY, NOT_JUDGED = "healthy", "unhealthy", "not-judged"


@dataclass(frozen=True, slots=True)
class Abstention:
    """A rule that was not judged, and why."""

    rule: str
    reason: str


def plain(value: Any) -> Any:
    """The value with NaN and Inf as text, for JSON."""
    if isinstance(value, float):
        return finite_or_text(value)
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Report:
    """What was watched, what was found, what could not be judged, and what went wrong on the way.

    verdicts are ordered by cause: what explains the others comes first. failures: rule or plugin -> its error.
    cannot: why it could not be judged, or not to its end. failure: how the user's own program failed on the way.
    print(report) shows the text form.
    """

    verdicts: tuple[Verdict, ...] = ()
    not_judged: tuple[Abstention, ...] = ()
    watched: Mapping[str, Any] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    cannot: str | None = None
    framework: str | None = None
    failure: str | None = None

    def __str__(self) -> str:
        """The text form, for people."""
        form = import_module("gradscope.reporters.text")  # the one look upwards, and only when it is printed
        return str(form.text.render(self))

    @property
    def status(self) -> str:
        """'unhealthy' with any error or warning, 'not-judged' when nothing could be said, else 'healthy'."""
        if any(v.severity is not Severity.INFO for v in self.verdicts):
            return UNHEALTHY
        return NOT_JUDGED if self.cannot else HEALTHY

    def worst(self) -> Severity | None:
        """The gravest severity, or None without a verdict."""
        return min((v.severity for v in self.verdicts), key=lambda s: s.rank, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without a bare NaN."""
        return {
            "status": self.status,
            "verdicts": [v.as_dict(self.framework) for v in self.verdicts],
            "not_judged": [{"rule": a.rule, "reason": a.reason} for a in self.not_judged],
            "cannot": self.cannot,
            "failure": self.failure,
            "watched": plain(self.watched),
            "failures": dict(self.failures),
        }
