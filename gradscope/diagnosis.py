"""diagnose(): from histories to a Report. Runs the rules, decides severity, and orders verdicts by cause."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradscope.history import History
from gradscope.plugins import Plugins
from gradscope.report import Abstention, Report
from gradscope.rule import NotJudged, Rule
from gradscope.settings import Settings, match_rules
from gradscope.verdict import Evidence, Role, Verdict, severity_of

FEWEST_STEPS = 5
"""With fewer optimizer steps than this, the absence of verdicts says nothing."""


def chosen_rules(rules: Sequence[Rule], settings: Settings) -> list[Rule]:
    """The rules that settings select and do not ignore. Raises UnknownRule."""
    selected = match_rules(settings.select, rules, where="select") if settings.select else {r.name for r in rules}
    ignored = match_rules(settings.ignore, rules, where="ignore")
    return [r for r in rules if r.name in selected - ignored]


def thresholds_by_rule(rules: Sequence[Rule], settings: Settings) -> dict[str, dict[str, Any]]:
    """Every rule's thresholds with the user's in place. Raises UnknownRule or SettingsError."""
    given: dict[str, dict[str, Any]] = {}
    for key, values in settings.thresholds.items():
        for name in match_rules([key], rules, where="thresholds", exact=True):
            given.setdefault(name, {}).update({k.replace("-", "_"): v for k, v in values.items()})
    return {r.name: r.with_thresholds(given.get(r.name, {})) for r in rules}


def check_settings(settings: Settings, plugins: Plugins) -> None:
    """Raises UnknownRule or SettingsError before anything is run."""
    rules = plugins.rules()
    chosen_rules(rules, settings)
    thresholds_by_rule(rules, settings)


def diagnose(
    histories: Sequence[History],
    settings: Settings,
    plugins: Plugins,
    *,
    failures: Mapping[str, str] | None = None,
    unread: str | None = None,
) -> Report:
    """The report on all histories of one run. A rule that raises is named in its failures and left out.

    failures: the parts of the observer that failed; with any of them nothing can be said. unread: where steps are that
    nobody fetched yet.
    """
    everything = plugins.rules()
    thresholds = thresholds_by_rule(everything, settings)
    rules = chosen_rules(everything, settings)
    failed: dict[str, str] = dict(failures or {})
    verdicts: list[Verdict] = []
    abstentions: list[Abstention] = []
    live = [h for h in histories if h.steps or h.facts.get("cold")]
    for history in live:
        found: list[Verdict] = []
        for rule in rules:
            if rule.name in failed:
                continue
            try:
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)  # what is unknown is NaN, and compares as false
                    evidence = tuple(rule.judge(history, **thresholds[rule.name]))
            except NotJudged as reason:
                abstentions.append(Abstention(rule.name, told(str(reason), history, live)))
                continue
            except Exception as error:  # noqa: BLE001 - a rule must not take the others down
                failed[rule.name] = f"{type(error).__name__}: {error}"
                continue
            if evidence:
                found.append(verdict_of(rule, evidence, history, several=len(live) > 1))
        verdicts += with_remedies(order_by_cause(found, rules), history, plugins, failed)
    framework = next((h.facts.get("framework") for h in live), None)
    return Report(
        verdicts=tuple(joined(verdicts)),
        not_judged=tuple(dict.fromkeys(abstentions)),
        watched=watched(live),
        failures=failed | plugins.failures,
        cannot=why_not(live, failures or {}, unread),
        framework=framework,
    )


def told(reason: str, history: History, histories: Sequence[History]) -> str:
    """The reason, led by the objective when there are several."""
    return f"{history.facts.get('objective')}: {reason}" if len(histories) > 1 else reason


def why_not(histories: Sequence[History], failed: Mapping[str, str], unread: str | None = None) -> str | None:
    """Why nothing can be said, or None when something can. failed: the parts of the observer that did. unread: where
    steps are that nobody fetched yet."""
    for part, error in failed.items():
        return f"the observation itself failed: {part}: {error}"
    if not histories and unread:
        return f"no optimizer step was read: {unread}"
    if not histories:
        return "no optimizer step was taken: there is nothing to judge"
    steps = max(h.steps for h in histories)
    if steps < FEWEST_STEPS and not any(h.facts.get("cold") for h in histories):
        return f"only {steps} optimizer step{'s' if steps != 1 else ''} seen; at least {FEWEST_STEPS} are needed"
    return None


def verdict_of(rule: Rule, evidence: tuple[Evidence, ...], history: History, *, several: bool) -> Verdict:
    """One verdict from the evidence of one rule; its place is where a value that is not finite was born, else that of
    the first evidence that names one."""
    ordered = tuple(sorted(evidence, key=lambda e: e.role is Role.NOTE))
    born = next((e for e in ordered if e.origin is not None and (e.module or e.source)), None)
    leading = born or next((e for e in ordered if e.module is not None), ordered[0])
    module = leading.module
    source = leading.source or history.source_of(module)
    steps = [e.step for e in evidence if e.step is not None]
    filled = tuple(replace(e, source=e.source or history.source_of(e.module)) for e in ordered)
    return Verdict(
        code=rule.code,
        name=rule.name,
        summary=rule.summary,
        severity=severity_of(evidence),
        module=module or None,
        source=source,
        step=min(steps, default=None),
        evidence=filled,
        objective=history.facts.get("objective") if several else None,
    )


def explains(cause: Verdict, effect: Verdict, rules: Mapping[str, Rule]) -> bool:
    """Whether one verdict accounts for another: its rule says so, and it was there first."""
    if effect.name not in rules[cause.name].explains:
        return False
    mutual = cause.name in rules[effect.name].explains
    if cause.step is None or effect.step is None:
        return not mutual
    return cause.step < effect.step or (cause.step == effect.step and (not mutual or cause.code < effect.code))


def order_by_cause(verdicts: Sequence[Verdict], rules: Sequence[Rule]) -> list[Verdict]:
    """Causes before consequences; among equals the gravest first, then what explains most, then the earliest.

    A verdict with evidence of its own keeps its place behind what would explain it, but is no consequence.
    """
    by_name = {r.name: r for r in rules}
    effects = {v.name: {w.name for w in verdicts if w is not v and explains(v, w, by_name)} for v in verdicts}
    remaining = list(verdicts)
    ordered: list[Verdict] = []
    while remaining:
        free = [v for v in remaining if not any(v.name in effects[w.name] for w in remaining if w is not v)]
        chosen = min(
            free or remaining,
            key=lambda v: (v.severity.rank, -len(by_name[v.name].explains), v.step or 0, v.code),
        )
        remaining.remove(chosen)
        causes = [] if any(e.own for e in chosen.evidence) else [o for o in ordered if chosen.name in effects[o.name]]
        cause = next((o for o in causes if o.consequence_of is None), next(iter(causes), None))
        ordered.append(replace(chosen, consequence_of=cause.name if cause else None))
    return ordered


def joined(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of all objectives, each illness of one place once; the gravest objective first."""
    seen: set[tuple[str, str | None]] = set()
    unique = []
    for v in verdicts:
        key = (v.name, v.module)
        if key not in seen:
            seen.add(key)
            unique.append(v)
    gravest: dict[str | None, int] = {}
    for v in unique:
        gravest[v.objective] = min(gravest.get(v.objective, 9), v.severity.rank)
    return sorted(unique, key=lambda v: gravest[v.objective])


def with_remedies(
    verdicts: Sequence[Verdict], history: History, plugins: Plugins, failed: dict[str, str]
) -> list[Verdict]:
    """The verdicts with what plugins suggest; a plugin that raises is named in failures."""
    treated = []
    for v in verdicts:
        treated.append(replace(v, remedies=tuple(plugins.remedies(v, history))))
    failed.update(plugins.failures)
    return treated


def watched(histories: Sequence[History]) -> dict[str, Any]:
    """What was observed: objectives, parameters, steps, and what could not be."""
    limits: dict[str, str] = {}
    for h in histories:
        limits |= h.facts.get("limits", {})
    return {
        "framework": next((h.facts.get("framework") for h in histories), None),
        "steps": max((h.steps for h in histories), default=0),
        "objectives": [
            {
                "name": h.facts.get("objective"),
                "optimizer": h.facts.get("optimizer"),
                "parameters": len(h["gradient"].subjects),
                "elements": int(sum(s.traits.get("size", 0) for s in h["gradient"].subjects)),
                "steps": h.steps,
                "loss_calls": [s.name for s in h["loss"].subjects],
                "withheld": int((h.run("withheld") == 1).sum()),
            }
            for h in histories
        ],
        "limits": limits,
        "bundles": [str(h.facts["bundle"]) for h in histories if "bundle" in h.facts],
        "layers": [row for h in histories for row in h.facts.get("layers", [])],
    }
