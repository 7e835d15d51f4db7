"""Text, for people: what is wrong first, each with its place, its evidence and what to do."""

from __future__ import annotations

import math
import os
from pathlib import Path

from gradscope.origin import Origin
from gradscope.report import HEALTHY, Report
from gradscope.reporter import reporter
from gradscope.verdict import Evidence, Severity, Verdict

MOST_EVIDENCE = 4


@reporter
def text(report: Report) -> str:
    """The report as plain text of at most 100 columns or so."""
    lines = layer_lines(report)
    for block in verdict_blocks(report):
        lines += [*block, ""]
    lines += closing(report)
    return "\n".join(lines)


def verdict_blocks(report: Report) -> list[list[str]]:
    """The lines of each verdict. What is told of one is not told again: an origin, the remedies of a cause."""
    treated = {v.name for v in report.verdicts if v.remedies}
    told: set[Origin] = set()
    blocks = []
    for verdict in report.verdicts:
        advised = verdict.consequence_of not in treated
        blocks.append(verdict_lines(verdict, report.framework, advised=advised, origin=verdict.origin not in told))
        told |= {verdict.origin} if verdict.origin is not None else set()
    return blocks


def verdict_lines(verdict: Verdict, framework: str | None, *, advised: bool = True, origin: bool = True) -> list[str]:
    """One verdict: headline, place, evidence; advised, origin: and its remedies, and where its value was born."""
    lines = [f"{verdict.severity.upper()} {verdict.code} {verdict.name}: {verdict.summary}"]
    place = " at ".join(x for x in (layer(verdict.module), near(verdict.source)) if x)
    since = "" if verdict.step is None else f"since step {verdict.step}"
    of = f"of {verdict.objective}" if verdict.objective else ""
    where = ", ".join(x for x in (place, since, of) if x)
    if where:
        lines.append(f"  where     {where}")
    if verdict.consequence_of:
        lines.append(f"  because   of {verdict.consequence_of}, above")
    for i, e in enumerate(verdict.evidence[:MOST_EVIDENCE]):
        lines.append(f"  {'evidence' if i == 0 else '':<9} {evidence_line(e, verdict.module)}")
    rest = len(verdict.evidence) - MOST_EVIDENCE
    if rest > 0:
        lines.append(f"            and {rest} more")
    if verdict.origin is not None and origin:
        for i, line in enumerate(verdict.origin.told()):
            lines.append(f"  {'born' if i == 0 else '':<9} {line}")
    for i, remedy in enumerate(verdict.remedies[:3] if advised else ()):
        lines.append(f"  {'remedy' if i == 0 else 'or':<9} {remedy.title}: {remedy.reason}")
        code = remedy.code.get(framework or "torch", "")
        lines += [f"            | {line}" for line in code.splitlines()]
    return lines


def layer(module: str | None) -> str | None:
    """The name of a module; one that is a bare number is called a layer."""
    return f"layer {module}" if module is not None and module.isdigit() else module


def near(source: str | None) -> str | None:
    """A place "file:line", as seen from the working directory when it is below that."""
    if source is None or not source.startswith(here := f"{Path.cwd()}{os.sep}"):
        return source
    return source.removeprefix(here)


def evidence_line(e: Evidence, module: str | None) -> str:
    """One measured value against its threshold."""
    subject = e.parameter or (layer(e.module) if e.module != module else None)
    step = "" if e.step is None else f" at step {e.step}"
    detail = f" ({e.detail})" if e.detail else ""
    head = f"{subject}: " if subject else ""
    return f"{head}{e.quantity} {number(e.value)} {e.relation} {number(e.threshold)}{step}{detail}"


def number(value: float) -> str:
    """Four significant digits; whole numbers as they are."""
    if not math.isfinite(value):
        return str(value)
    return f"{int(value)}" if abs(value) < 1e6 and value == round(value) else f"{value:.4g}"


def layer_lines(report: Report) -> list[str]:
    """The gains of a cold check, one layer a line."""
    rows = report.watched.get("layers", [])
    if not rows:
        return []
    width = max(len(r["module"]) for r in rows)
    head = f"{'layer':<{width}}  forward gain  gradient, of the largest"
    return [
        head,
        *(f"{r['module']:<{width}}  {number(r['forward_gain']):>12}  {number(r['gradient']):>24}" for r in rows),
        "",
    ]


def closing(report: Report) -> list[str]:
    """What was watched, what was not judged, what failed, and the status."""
    lines: list[str] = []
    if report.not_judged and not report.watched.get("layers"):  # a cold check has no steps: most rules cannot apply
        reasons: dict[str, list[str]] = {}
        for a in report.not_judged:
            reasons.setdefault(a.reason, []).append(a.rule)
        lines.append("not judged")
        lines += [f"  {', '.join(rules)}: {reason}" for reason, rules in reasons.items()]
    for what, why in report.watched.get("limits", {}).items():
        lines.append(f"not observed: {what}: {why}")
    for one in report.watched.get("objectives", []):
        if one.get("withheld"):
            lines.append(f"withheld: {one['withheld']} of {counted(one['steps'], 'step')} of {one['name']}")
    for bundle in report.watched.get("bundles", []):
        lines.append(f"saved: the failing step, for gradscope replay: {bundle}")
    for what, why in report.failures.items():
        lines.append(f"disabled after an error of its own: {what}: {why}")
    lines.append(watched_line(report))
    return lines


def counted(count: int, noun: str) -> str:
    """1 step, 2 steps."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def watched_line(report: Report) -> str:
    """The last line: the status and how much it rests on."""
    watched = report.watched
    objectives = watched.get("objectives", [])
    parameters = sum(o["parameters"] for o in objectives)
    seen = ", ".join(
        (
            counted(watched.get("steps", 0), "step"),
            counted(parameters, "parameter"),
            counted(len(objectives), "optimizer"),
        )
    )
    if report.cannot and report.status != HEALTHY:
        return (
            f"{report.status}: {report.cannot}" if not report.verdicts else f"{report.status} ({seen}); {report.cannot}"
        )
    count = len(report.verdicts)
    found = "" if not count else f", {counted(count, 'verdict')}"
    mild = "; warnings only, which fail a check with --fail-on warning" if report.worst() is Severity.WARNING else ""
    return f"{report.status} ({seen}{found}){mild}"
