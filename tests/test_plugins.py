"""Strangers' rules, remedies and formats enter by the hooks; what breaks a hook's contract is named."""

import types

import pytest
from gradscope import builtin
from gradscope.errors import UnknownRule, UsageError
from gradscope.hookspecs import hookimpl
from gradscope.plugins import Plugins, plugins
from gradscope.reporter import Reporter
from gradscope.rule import rule
from gradscope.verdict import Evidence, Remedy, Role

from tests.specimens import healthy_run, judged, stuck


@rule("XX001", explains=("stalled-loss",))
def full_moon(history, *, phase: float = 0.5):
    """The moon is full."""
    yield Evidence("phase", 1.0, ">", phase, role=Role.HARM)


@rule("GS101")
def second_vanishing(history):
    """A code that is taken."""


@rule("XX002")
def stalled_loss(history):
    """A name that is taken."""


def plugin(**hooks):
    """A module with hook implementations."""
    made = types.ModuleType("stranger")
    for name, implementation in hooks.items():
        implementation.__name__ = name
        setattr(made, name, hookimpl(implementation))
    return made


def loaded(**hooks) -> Plugins:
    """The plugins of gradscope and one stranger."""
    return Plugins([("stranger", plugin(**hooks))])


def suggest(verdict, history):
    wait = Remedy("wait", "Wait a fortnight", f"{verdict.name} passes", {"torch": "sleep()"})
    return [wait] if verdict.name == "full-moon" else []


def test_a_strangers_rule_judges_and_carries_the_name_of_its_plugin():
    strange = loaded(gradscope_rules=lambda: [full_moon])
    assert (strange.rule("XX001").plugin, strange.rule("stalled-loss").plugin) == ("stranger", "gradscope")
    assert [v.name for v in judged(healthy_run(), plugins=strange).verdicts] == ["full-moon"]


def test_a_strangers_rule_takes_thresholds_and_its_place_in_the_order():
    strange = loaded(gradscope_rules=lambda: [full_moon])
    verdicts = judged(healthy_run(loss=stuck(100)), plugins=strange, thresholds={"XX001": {"phase": 0.75}}).verdicts
    assert [(v.name, v.consequence_of) for v in verdicts] == [("full-moon", None), ("stalled-loss", "full-moon")]
    assert verdicts[0].evidence[0].threshold == 0.75


def test_a_strangers_remedy_is_told_with_the_verdict():
    strange = loaded(gradscope_rules=lambda: [full_moon], gradscope_suggest_remedies=suggest)
    (verdict,) = judged(healthy_run(), plugins=strange).verdicts
    assert [r.title for r in verdict.remedies] == ["Wait a fortnight"]


def test_a_strangers_remedy_for_our_rule_comes_after_ours():
    def also(verdict, history):
        return [Remedy("also", "Also this", "why not")]

    (verdict,) = judged(healthy_run(loss=stuck(100)), plugins=loaded(gradscope_suggest_remedies=also)).verdicts
    assert [r.name for r in verdict.remedies] == ["check-labels", "also"]


def test_a_strangers_format_renders():
    strange = loaded(gradscope_reporters=lambda: [Reporter("shout", lambda report: report.status.upper())])
    assert strange.reporter("shout").render(judged(healthy_run())) == "HEALTHY"


def test_a_hook_may_leave_out_the_arguments_it_does_not_need():
    strange = loaded(gradscope_suggest_remedies=lambda verdict: [])
    assert judged(healthy_run(loss=stuck(100)), plugins=strange).failures == {}


@pytest.mark.parametrize(
    ("clashing", "message"),
    [
        (second_vanishing, "rule GS101 second-vanishing clashes with GS101 vanishing-gradient"),
        (stalled_loss, "rule XX002 stalled-loss clashes with GS302 stalled-loss"),
    ],
)
def test_a_rule_whose_code_or_name_is_taken_is_refused_and_the_plugin_named(clashing, message):
    strange = loaded(gradscope_rules=lambda: [clashing, full_moon])
    report = judged(healthy_run(), plugins=strange)
    assert dict(report.failures) == {"stranger": message}
    assert [v.name for v in report.verdicts] == ["full-moon"]
    assert strange.rule("GS101").plugin == "gradscope"


def raising():
    raise OSError("the moon is down")


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"gradscope_rules": raising}, "gradscope_rules: OSError: the moon is down"),
        ({"gradscope_rules": lambda: None}, "gradscope_rules: TypeError: 'NoneType' object is not iterable"),
        (
            {"gradscope_rules": lambda: ["XX001"]},
            "gradscope_rules: PluginError: gradscope_rules must return a list of Rule, got 'XX001'",
        ),
        (
            {"gradscope_suggest_remedies": lambda: [3]},
            "gradscope_suggest_remedies: PluginError: gradscope_suggest_remedies must return a list of Remedy, got 3",
        ),
    ],
)
def test_a_hook_that_breaks_its_contract_is_named_and_the_rest_works(hooks, message):
    report = judged(healthy_run(loss=stuck(100)), plugins=loaded(**hooks))
    assert dict(report.failures) == {"stranger": message}
    assert [v.name for v in report.verdicts] == ["stalled-loss"]
    assert report.verdicts[0].remedies


def test_a_hook_with_an_argument_that_does_not_exist_is_named_and_the_rest_works():
    strange = loaded(gradscope_suggest_remedies=lambda verdict, history, moon: [])
    assert "gradscope_suggest_remedies" in strange.failures["stranger"]
    assert "moon" in strange.failures["stranger"]
    assert strange.rules()


def test_an_unknown_rule_is_refused():
    with pytest.raises(UnknownRule, match="rule: no rule has the code or name 'GS1'"):
        Plugins().rule("GS1")


def test_an_unknown_format_is_refused_with_those_that_exist():
    with pytest.raises(UsageError) as caught:
        Plugins().reporter("xml")
    assert str(caught.value) == "unknown report format 'xml'; known formats: json, text"


def test_rules_are_in_the_order_of_their_codes():
    codes = [r.code for r in loaded(gradscope_rules=lambda: [full_moon]).rules()]
    assert codes == sorted(codes)


def test_our_own_come_in_by_the_same_door():
    assert Plugins().manager.get_plugin("gradscope") is builtin


def test_the_plugins_of_a_process_are_loaded_once():
    assert plugins() is plugins()
    assert "gradscope" in plugins().names()
