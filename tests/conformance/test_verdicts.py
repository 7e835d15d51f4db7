"""Sick specimens, built in every framework from the same weights and batches, are told the same: which illnesses, how
grave, where, since when, and in which order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gradscope import Scope
from gradscope.origin import Origin
from gradscope.reference.losses import LOSSES
from gradscope.reference.plans import Plan, convnet, perceptron
from gradscope.reference.specimens import SPECIMENS
from gradscope.reference.trainer import train

from tests.conformance.doors import NEEDS, door
from tests.conformance.verdicts import EXPECTED, FROM_ARRAYS, LOCATED

HEALTHY: dict[str, Callable[[], Plan]] = {
    "perceptron with Adam": lambda: perceptron("Adam", 0.003, 60),
    "convnet with SGD": lambda: convnet("SGD", 0.05, 60),
}
NOT_EXPRESSED = {("mxnet", "broadcast"): "MXNet refuses to broadcast arrays of different rank"}


def told(scope: Scope, rename: Callable[[str], str]) -> list[str]:
    """The verdicts of a report, in its order, in the names of the reference."""
    report = scope.report()
    assert not report.failures, report.failures
    found = []
    for v in report.verdicts:
        named = (rename(e.parameter) for e in v.evidence if e.parameter)
        subject = rename(v.module) if v.module else next(named, "")
        since = "" if v.step is None else f", step {v.step}"
        found.append(f"{v.severity} {v.name}: {subject or 'the model'}{since}")
    return found


def test_every_specimen_has_its_verdicts() -> None:
    assert set(EXPECTED) == set(FROM_ARRAYS) == set(SPECIMENS)
    assert all(EXPECTED.values())


@pytest.mark.parametrize("name", SPECIMENS)
@pytest.mark.parametrize("framework", NEEDS)
def test_a_framework_is_told_what_is_known_of_a_specimen(framework: str, name: str) -> None:
    adapter = door(framework)
    if (framework, name) in NOT_EXPRESSED:
        pytest.skip(NOT_EXPRESSED[framework, name])
    scope = adapter.observed(SPECIMENS[name](), "session")
    located = (framework, name) in LOCATED and isinstance(scope.histories[0].facts.get("origin"), Origin)
    expected = list(EXPECTED[name])
    if located:
        at, verdict = LOCATED[framework, name]
        expected[at] = verdict
    assert told(scope, adapter.reference_name) == expected


@pytest.mark.parametrize("name", SPECIMENS)
def test_plain_arrays_tell_what_arrays_can(name: str) -> None:
    plan, scope = SPECIMENS[name](), Scope()
    loss = LOSSES[plan.loss]
    train(plan.network, plan.weights, loss, plan.solver(), plan.batches, scope, limit=plan.limit)
    assert told(scope, str) == FROM_ARRAYS[name]


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("framework", NEEDS)
def test_nothing_is_said_of_a_sound_training(framework: str, name: str) -> None:
    adapter = door(framework)
    assert told(adapter.observed(HEALTHY[name](), "session"), adapter.reference_name) == []
