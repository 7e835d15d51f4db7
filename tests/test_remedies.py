"""Every rule has a remedy, and every remedy is told with numbers that are numbers and code that is Python."""

import ast
import re

import numpy as np
import pytest
from gradscope.hookspecs import hookimpl
from gradscope.plugins import Plugins
from gradscope.regimen import STEPPING
from gradscope.remedy import remedy
from gradscope.workload import Workload

from tests.advice import BY_NAME, RULES, SOURCES, verdict_of
from tests.specimens import healthy_run, judged, stuck


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
        assert r.cost, r.name
        assert r.risk, r.name
        assert all(isinstance(v, float | int | str) for v in r.settings.values()), r.name
        assert not re.search(r"\b(nan|inf)\b", f"{r.title} {r.reason}"), r.name
        assert {"torch", "tensorflow", "jax"} <= set(r.code), r.name
        for code in r.code.values():
            ast.parse(code)


@pytest.mark.parametrize("name", RULES)
def test_remedies_come_by_rank(name):
    ranks = [SOURCES[r.name].rank for r in verdict_of(name).remedies]
    assert ranks == sorted(ranks)


def test_a_remedy_that_raises_is_named():
    class Stranger:
        @hookimpl
        def gradscope_suggest_remedies(self, verdict, history):
            raise KeyError("leech")

    report = judged(healthy_run(loss=stuck(100)), plugins=Plugins([("barber", Stranger())]))
    assert dict(report.failures) == {"barber": "gradscope_suggest_remedies: KeyError: 'leech'"}
    assert report.verdicts[0].remedies


def test_remedies_of_a_gap_answer_to_no_rule():
    assert {s.name for s in BY_NAME} == {"dropout", "input-noise", "l1-penalty", "random-crops"}


@pytest.mark.parametrize("source", BY_NAME, ids=lambda s: s.name)
def test_a_remedy_without_rules_tells_the_gap_where_it_was_measured(source):
    unknown = source.suggest(None, healthy_run())
    known = source.suggest(None, healthy_run(gap={"training": 0.1, "held_out": 0.9}))
    assert unknown.reason.endswith("; whether that helps, held-out data must tell")
    assert known.reason.endswith("; the loss is 0.1 in training and 0.9 on held-out data")


@pytest.mark.parametrize("name", RULES)
def test_every_setting_is_a_finite_number_or_a_word(name):
    for r in verdict_of(name).remedies:
        for key, value in r.settings.items():
            assert isinstance(value, str) or np.isfinite(value), (r.name, key)


def test_a_remedy_that_is_asked_for_by_name_has_its_usual_numbers():
    assert SOURCES["dropout"].asked().settings == {"probability": 0.1}
    assert SOURCES["lower-learning-rate"].asked().settings == {"factor": 0.1}


@pytest.mark.parametrize("source", BY_NAME, ids=lambda s: s.name)
def test_usual_numbers_are_those_of_the_remedy_that_is_told(source):
    assert dict(source.suggest(None, healthy_run()).settings) == dict(source.usual)


RECIPES = [s for s in SOURCES.values() if s.name in STEPPING and s.name != "loosen-clipping"]


@pytest.mark.parametrize("source", RECIPES, ids=lambda s: s.name)
def test_a_remedy_of_the_recipe_applies_with_its_usual_numbers(source):
    given = Workload(None, None, [])
    assert STEPPING[source.name](given, source.usual).recipe != given.recipe
