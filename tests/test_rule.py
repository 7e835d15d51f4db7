"""@rule, its thresholds, and what holds for every rule of the house."""

import pytest
from gradscope.builtin import gradscope_rules
from gradscope.errors import PluginError, SettingsError
from gradscope.rule import SECTIONS, NotJudged, Rule, rule
from gradscope.verdict import Evidence

RULES = {r.name: r for r in gradscope_rules()}


@rule("XX001", explains=("stalled-loss",))
def too_loud(history, *, level: float = 2.0, fewest: int = 3):
    """The run is too loud.

    What it does: nothing.
    """
    yield Evidence("loudness", 3.0, ">", level)


def test_a_rule_takes_its_name_and_thresholds_from_its_function():
    assert (too_loud.code, too_loud.name, dict(too_loud.thresholds)) == (
        "XX001",
        "too-loud",
        {"level": 2.0, "fewest": 3},
    )
    assert (too_loud.explains, too_loud.plugin) == (("stalled-loss",), "gradscope")


def test_the_summary_is_the_first_line_without_its_full_stop():
    assert too_loud.summary == "The run is too loud"


def test_the_documentation_is_the_docstring():
    assert too_loud.documentation == "The run is too loud.\n\nWhat it does: nothing."


def test_thresholds_can_be_replaced_one_by_one():
    assert too_loud.with_thresholds({"level": 5}) == {"level": 5, "fewest": 3}
    assert too_loud.with_thresholds({}) == {"level": 2.0, "fewest": 3}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lvl": 1}, "too-loud: there is no threshold 'lvl'; known thresholds: level, fewest"),
        ({"level": "high"}, "too-loud.level: expected a number, got 'high'"),
        ({"level": True}, "too-loud.level: expected a number, got True"),
        ({"level": None}, "too-loud.level: expected a number, got None"),
        ({"level": float("nan")}, "too-loud.level: expected a finite number, got nan"),
        ({"level": float("inf")}, "too-loud.level: expected a finite number, got inf"),
        ({"level": -0.5}, "too-loud.level: expected a number from 0, got -0.5"),
    ],
)
def test_a_wrong_threshold_is_refused(given, message):
    with pytest.raises(SettingsError) as caught:
        too_loud.with_thresholds(given)
    assert str(caught.value) == message


def test_a_threshold_that_is_negative_by_itself_may_be_set_so():
    cold = Rule("XX003", "too-cold", lambda h: iter(()), thresholds={"degrees": -3.0})
    assert cold.with_thresholds({"degrees": -5.0}) == {"degrees": -5.0}


def test_a_rule_without_thresholds_says_so():
    with pytest.raises(SettingsError, match="known thresholds: none"):
        Rule("XX002", "bare", lambda h: iter(())).with_thresholds({"level": 1})


def positional(history, level=2.0):
    """Not keyword-only."""


def undefined(history, *, level):
    """Without a default."""


@pytest.mark.parametrize("judge", [positional, undefined])
def test_a_threshold_must_be_keyword_only_and_have_a_default(judge):
    with pytest.raises(PluginError) as caught:
        rule("XX003")(judge)
    assert str(caught.value) == "rule XX003: threshold 'level' must be keyword-only and have a default"


def test_not_judged_is_no_verdict_on_the_plugin():
    assert not issubclass(NotJudged, PluginError)


def test_there_are_thirty_rules():
    assert len(RULES) == 30


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("section", [s for s in SECTIONS if s != "References"])
def test_the_page_of_every_rule_has_its_sections(name, section):
    assert f"\n{section}: " in RULES[name].documentation


@pytest.mark.parametrize("name", RULES)
def test_the_page_of_every_rule_names_its_thresholds(name):
    page = RULES[name].documentation.partition("Thresholds:")[2].partition("Not flagged:")[0].replace("`", "")
    missing = [t for t in RULES[name].thresholds if t not in page]
    assert not missing, f"{name}: the Thresholds section does not explain {missing}"


@pytest.mark.parametrize("name", RULES)
def test_every_rule_begins_with_a_sentence(name):
    first = RULES[name].documentation.partition("\n")[0]
    assert first.endswith(".")
    assert first[0].isupper()


@pytest.mark.parametrize("name", RULES)
def test_every_rule_explains_only_rules_that_exist_and_not_itself(name):
    assert set(RULES[name].explains) <= set(RULES) - {name}


def test_codes_are_unique():
    assert len({r.code for r in RULES.values()}) == len(RULES)
