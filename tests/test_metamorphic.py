"""What must not matter to any rule: the unit of the loss, the names of things, the length of the memory.

Every rule's specimen comes from its own file, tests/rules/test_<rule>.py.
"""

import importlib

import pytest
from gradscope.builtin import gradscope_rules

from tests.specimens import found, healthy_run, judged, renamed, scaled

RULES = {r.name: r for r in gradscope_rules()}
WEIGHED = {
    "over-regularized": "a penalty beside the loss, or a decay beside its gradient, is another one beside another loss",
}
"""Rules for which a loss multiplied is another run, and why."""


def sick(name: str):
    """The specimen of a rule."""
    return importlib.import_module(f"tests.rules.test_{name.replace('-', '_')}").sick()


def shown(report) -> set[tuple]:
    """What a report says, without names."""
    return {(v.code, str(v.severity), v.step, len(v.evidence), v.consequence_of) for v in report.verdicts}


def known(report) -> set[tuple]:
    """What a report says, without numbers."""
    return {(v.code, str(v.severity), v.module, v.step) for v in report.verdicts}


@pytest.mark.parametrize("name", RULES)
def test_every_specimen_gives_its_verdict_and_fails_no_rule(name):
    report = judged(sick(name))
    assert name in {v.name for v in report.verdicts}
    assert not report.failures


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("name", [n for n in RULES if n not in WEIGHED])
def test_the_unit_of_the_loss_does_not_matter(name, factor):
    assert known(judged(scaled(sick(name), factor))) == known(judged(sick(name)))


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_healthy_run_is_healthy_in_any_unit(factor):
    report = judged(scaled(healthy_run(), factor))
    assert (report.status, report.verdicts, dict(report.failures)) == ("healthy", (), {})


@pytest.mark.parametrize("name", RULES)
def test_the_names_of_modules_and_parameters_do_not_matter(name):
    assert shown(judged(renamed(sick(name)))) == shown(judged(sick(name)))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop", "LBFGS"])
@pytest.mark.parametrize("name", RULES)
def test_the_name_of_the_optimizer_does_not_matter(name, optimizer):
    history = sick(name)
    history.facts |= {"optimizer": optimizer, "objective": optimizer}
    assert shown(judged(history)) == shown(judged(sick(name)))


@pytest.mark.parametrize("name", RULES)
def test_judging_twice_says_the_same(name):
    history = sick(name)
    assert judged(history).as_dict() == judged(history).as_dict()


@pytest.mark.parametrize("name", RULES)
def test_a_healthy_run_shows_no_rule_anything(name):
    assert not found(RULES[name], healthy_run())


@pytest.fixture(scope="module")
def thinned():
    """A healthy run whose step table lost rows that its gradient table still has."""
    history = healthy_run(3000, budget=2**20)
    assert history["step"].dropped > history["gradient"].dropped
    return history


@pytest.mark.parametrize("name", RULES)
def test_no_rule_breaks_on_a_history_whose_tables_were_thinned_unequally(name, thinned):
    assert not found(RULES[name], thinned)


@pytest.mark.parametrize("steps", [1, 2, 5, 9, 10, 19, 20, 49, 50])
def test_no_rule_breaks_on_a_short_run(steps):
    report = judged(healthy_run(steps))
    assert (report.verdicts, dict(report.failures)) == ((), {})
