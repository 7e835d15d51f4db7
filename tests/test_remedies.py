"""Every rule has a remedy, and every remedy is told with numbers that are numbers and code that is Python."""

import ast
import importlib
import re

import numpy as np
import pytest
from gradscope.builtin import gradscope_rules, remedy_sources
from gradscope.hookspecs import hookimpl
from gradscope.plugins import Plugins
from gradscope.remedy import remedy
from gradscope.verdict import Remedy

from tests.specimens import PARAMETERS, WEIGHTS, healthy_run, judged, stuck

RULES = [r.name for r in gradscope_rules()]
SOURCES = {s.name: s for s in remedy_sources()}


def verdict_of(name: str):
    """The verdict that a rule gives of its own specimen."""
    history = importlib.import_module(f"tests.rules.test_{name.replace('-', '_')}").sick()
    return next(v for v in judged(history).verdicts if v.name == name)


def told(history, rule: str, remedy_name: str) -> Remedy | None:
    """What one remedy says of a verdict in a history."""
    verdict = next(v for v in judged(history).verdicts if v.name == rule)
    return next((r for r in verdict.remedies if r.name == remedy_name), None)


@remedy("stalled-loss", "dead-units", rank=3)
def try_tea(_verdict, _history):
    """Tea."""


def test_a_remedy_takes_its_name_from_its_function():
    assert (try_tea.name, try_tea.rules, try_tea.rank) == ("try-tea", ("stalled-loss", "dead-units"), 3)


@pytest.mark.parametrize("name", RULES)
def test_every_verdict_comes_with_a_remedy(name):
    assert verdict_of(name).remedies


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_answered_by_a_remedy(name):
    assert any(name in s.rules for s in SOURCES.values())


@pytest.mark.parametrize("name", SOURCES)
def test_a_remedy_answers_rules_that_exist(name):
    assert set(SOURCES[name].rules) <= set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_remedies_say_all_that_is_needed(name):
    for r in verdict_of(name).remedies:
        assert r.title, r.name
        assert r.reason, r.name
        assert r.reference, r.name
        assert not re.search(r"\b(nan|inf)\b", f"{r.title} {r.reason}"), r.name
        ast.parse(r.code["torch"])


@pytest.mark.parametrize("name", RULES)
def test_remedies_come_by_rank(name):
    ranks = [SOURCES[r.name].rank for r in verdict_of(name).remedies]
    assert ranks == sorted(ranks)


def test_the_learning_rate_is_lowered_to_what_moves_weights_by_a_hundredth():
    large = {"update_norm": dict.fromkeys(WEIGHTS, 2.0), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    history = healthy_run(loss=stuck(100), parameters=large)
    assert told(history, "oversized-update", "lower-learning-rate").title == (
        "lower the learning rate from 0.1 to about 0.0005"
    )


def test_the_learning_rate_is_raised_to_what_moves_weights_by_a_thousandth():
    small = {"update_norm": dict.fromkeys(WEIGHTS, 1e-6), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    history = healthy_run(loss=stuck(100), parameters=small, run={"learning_rate": 1e-5})
    assert told(history, "undersized-update", "raise-learning-rate").code["torch"] == (
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.01)"
    )


def test_the_clipping_limit_is_twice_the_usual_gradient():
    norms = dict.fromkeys(PARAMETERS, 0.0) | {WEIGHTS[0]: np.where(np.arange(100) == 50, 1e5, 5.0)}
    history = healthy_run(loss=stuck(100), gradients=norms)
    assert told(history, "gradient-spike", "clip-gradient-norm").title == "clip the gradient at a global norm of 10"


def test_a_remedy_whose_numbers_are_unknown_is_not_told():
    large = {"update_norm": dict.fromkeys(WEIGHTS, 2.0), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    history = healthy_run(loss=stuck(100), parameters=large, run={"learning_rate": None})
    assert told(history, "oversized-update", "lower-learning-rate") is None


def test_a_remedy_that_raises_is_named():
    class Stranger:
        @hookimpl
        def gradscope_suggest_remedies(self, verdict, history):
            raise KeyError("leech")

    report = judged(healthy_run(loss=stuck(100)), plugins=Plugins([("barber", Stranger())]))
    assert dict(report.failures) == {"barber": "gradscope_suggest_remedies: KeyError: 'leech'"}
    assert report.verdicts[0].remedies
