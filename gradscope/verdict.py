"""What gradscope says: Evidence, Remedy and Verdict, as frozen values.

Severity follows one law: a cause alone is a warning; a cause whose harm was measured too is an error. So a rule never
chooses a severity: it marks each piece of evidence as cause, harm or note, and the severity follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gradscope.origin import Origin, origin_at

if TYPE_CHECKING:
    from gradscope.history import History
    from gradscope.program.source import Source
    from gradscope.workload import Workload


class Severity(StrEnum):
    """How bad: ERROR breaks the training, WARNING may, INFO is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for ERROR, 1 for WARNING, 2 for INFO: sorts by gravity."""
        return list(Severity).index(self)


class Role(StrEnum):
    """What a piece of evidence shows: that something is wrong, that it does damage, or context."""

    CAUSE = "cause"
    HARM = "harm"
    NOTE = "note"


def finite_or_text(value: float) -> float | str:
    """The value itself, or 'nan', 'inf', '-inf': JSON has no such numbers."""
    return value if math.isfinite(value) else str(value)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measured value against one threshold.

    quantity: what was measured, in words ("update norm / parameter norm").
    value, relation, threshold: "0.8 > 0.5"; value may be NaN or Inf.
    step: the optimizer step it was first seen at, or None when it holds for the whole run.
    parameter, module: dotted names, where it was measured.
    source: file:line when it differs from the module's (the line of a loss call).
    detail: data that belongs to it (shapes, counts), never a sentence.
    own: whether no other illness can have brought it about, so that its verdict is never told as a consequence.
    origin: where the value was born, when the step was run again to find out.
    """

    quantity: str
    value: float
    relation: str
    threshold: float
    step: int | None = None
    parameter: str | None = None
    module: str | None = None
    source: str | None = None
    role: Role = Role.CAUSE
    detail: str = ""
    own: bool = False
    origin: Origin | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "quantity": self.quantity,
            "value": finite_or_text(self.value),
            "relation": self.relation,
            "threshold": finite_or_text(self.threshold),
            "step": self.step,
            "parameter": self.parameter,
            "module": self.module,
            "source": self.source,
            "role": str(self.role),
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to change: title, why (with a number of this run), and the line of code per framework.

    cost: what it costs in time, memory or work. risk: what may go wrong with it. settings: the numbers of this run that
    it is applied with (a limit, a factor). apply: gives a treated Workload. rewrite: gives a treated Source of a
    script. Both leave alone what they are given, and raise CannotApply where the remedy does not fit; None: only told.
    variants: the same with other settings, tried beside it.
    """

    name: str
    title: str
    reason: str
    code: Mapping[str, str] = field(default_factory=dict)
    reference: str = ""
    cost: str = ""
    risk: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    apply: Callable[[Workload], Workload] | None = field(default=None, compare=False, repr=False)
    rewrite: Callable[[Source], Source] | None = field(default=None, compare=False, repr=False)
    variants: tuple[Remedy, ...] = ()

    def as_dict(self, framework: str | None = None) -> dict[str, Any]:
        """Plain data for JSON; `code` is that of the framework when one is named."""
        code: Any = self.code.get(framework, "") if framework else dict(self.code)
        return {
            "name": self.name,
            "title": self.title,
            "reason": self.reason,
            "code": code,
            "reference": self.reference,
            "cost": self.cost,
            "risk": self.risk,
            "settings": dict(self.settings),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """One illness: which, how bad, where, since when, shown by what, and what to do."""

    code: str
    name: str
    summary: str
    severity: Severity
    module: str | None
    source: str | None
    step: int | None
    evidence: tuple[Evidence, ...]
    remedies: tuple[Remedy, ...] = ()
    consequence_of: str | None = None
    objective: str | None = None

    @property
    def origin(self) -> Origin | None:
        """Where its first value that is not finite was born, when that was found."""
        return next((e.origin for e in self.evidence if e.origin is not None), None)

    def as_dict(self, framework: str | None = None) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "code": self.code,
            "name": self.name,
            "severity": str(self.severity),
            "summary": self.summary,
            "module": self.module,
            "source": self.source,
            "step": self.step,
            "objective": self.objective,
            "consequence_of": self.consequence_of,
            "origin": self.origin.as_dict() if self.origin is not None else None,
            "evidence": [e.as_dict() for e in self.evidence],
            "remedies": [r.as_dict(framework) for r in self.remedies],
        }


def severity_of(evidence: tuple[Evidence, ...]) -> Severity:
    """ERROR when harm was measured, WARNING for a cause alone, INFO for notes only."""
    roles = {e.role for e in evidence}
    if Role.HARM in roles:
        return Severity.ERROR
    return Severity.WARNING if Role.CAUSE in roles else Severity.INFO


def born(history: History, step: int) -> list[Evidence]:
    """The evidence of the origin of what is not finite in that step, when the step was run again to find it."""
    origin = origin_at(history, step)
    if origin is None:
        return []
    return [
        Evidence(
            str(origin),
            origin.count,
            ">",
            0,
            origin.step,
            parameter=origin.parameter if origin.phase == "parameter" else None,
            module=origin.module or None,
            source=origin.source,
            role=Role.HARM,
            origin=origin,
        )
    ]
