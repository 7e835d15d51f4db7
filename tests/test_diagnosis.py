"""From histories to a report: which rules run, what a verdict holds, what could not be judged."""

import math

import numpy as np
import pytest
from gradscope.diagnosis import check_settings, diagnose
from gradscope.errors import SettingsError, UnknownRule
from gradscope.history import History
from gradscope.plugins import Plugins
from gradscope.rule import NotJudged, rule
from gradscope.settings import Settings
from gradscope.verdict import Role

from tests.specimens import LAYERS, healthy_run, judged, stuck
from tests.strangers import harm, only, plugin, shows

# -- status ----------------------------------------------------------------------------------------------------------


def test_a_healthy_run_is_healthy_without_verdicts_and_everything_judged():
    report = judged(healthy_run())
    assert (report.status, report.verdicts, report.not_judged, report.cannot) == ("healthy", (), (), None)


def test_no_history_is_not_judged():
    report = judged()
    assert (report.status, report.cannot) == ("not-judged", "no optimizer step was taken: there is nothing to judge")


def test_a_history_without_steps_is_no_history():
    assert judged(History(objective="SGD")).cannot == "no optimizer step was taken: there is nothing to judge"


@pytest.mark.parametrize(
    ("steps", "cannot"),
    [
        (1, "only 1 optimizer step seen; at least 5 are needed"),
        (4, "only 4 optimizer steps seen; at least 5 are needed"),
        (5, None),
    ],
)
def test_fewer_than_five_steps_are_not_judged(steps, cannot):
    report = judged(healthy_run(steps))
    assert (report.cannot, report.status) == (cannot, "not-judged" if cannot else "healthy")


def test_a_cold_check_needs_no_steps():
    assert judged(healthy_run(1, loss=math.nan, run={"loss_nonfinite": None}, call=None, cold=True)).cannot is None


@pytest.mark.parametrize("part", ["torch step", "keras functions", "anything"])
@pytest.mark.parametrize("steps", [0, 1, 100])
def test_an_observation_that_failed_is_not_healthy(part, steps):
    histories = [healthy_run(steps)] if steps else []
    report = diagnose(histories, Settings(), Plugins(), failures={part: "KeyError: 1"})
    assert (report.status, report.cannot) == ("not-judged", f"the observation itself failed: {part}: KeyError: 1")


# -- which rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, {"stalled-loss"}),
        ({"select": ("GS302",)}, {"stalled-loss"}),
        ({"select": ("GS1",)}, set()),
        ({"ignore": ("stalled-loss",)}, set()),
        ({"select": ("GS3",), "ignore": ("GS302",)}, set()),
    ],
)
def test_rules_are_selected_and_ignored(settings, names):
    assert {v.name for v in judged(healthy_run(loss=stuck(100)), **settings).verdicts} == names


@pytest.mark.parametrize("key", ["GS302", "stalled-loss"])
def test_a_threshold_is_set_by_code_or_name(key):
    assert not judged(healthy_run(loss=stuck(100)), thresholds={key: {"close": 1.4}}).verdicts


def test_a_threshold_may_be_written_with_hyphens():
    check_settings(Settings(thresholds={"GS401": {"nearly-all": 0.9}}), Plugins())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"select": ("GS9",)}, UnknownRule, "select: no rule has the code or name 'GS9'"),
        ({"ignore": ("lazy",)}, UnknownRule, "ignore: no rule has the code or name 'lazy'"),
        ({"thresholds": {"GS30": {"close": 1}}}, UnknownRule, "thresholds: no rule has the code or name 'GS30'"),
        ({"thresholds": {"GS302": {"far": 1}}}, SettingsError, "stalled-loss: there is no threshold 'far'"),
        ({"thresholds": {"GS302": {"close": "x"}}}, SettingsError, "stalled-loss.close: expected a number, got 'x'"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_judged(settings, error, message):
    with pytest.raises(error, match=message):
        check_settings(Settings(**settings), Plugins())


# -- rules that raise or abstain -------------------------------------------------------------------------------------


@rule("XX001")
def broken_rule(history):
    """It breaks."""
    raise KeyError("depth")


@rule("XX002")
def halfway_broken(history):
    """It breaks after its first evidence."""
    yield harm()
    raise ZeroDivisionError("halfway")


@rule("XX003")
def modest(history):
    """It cannot know."""
    raise NotJudged("too dark")


def test_a_rule_that_raises_is_named_and_the_others_still_judge():
    report = judged(healthy_run(loss=stuck(100)), plugins=plugin(broken_rule, halfway_broken))
    assert dict(report.failures) == {
        "broken-rule": "KeyError: 'depth'",
        "halfway-broken": "ZeroDivisionError: halfway",
    }
    assert [v.name for v in report.verdicts] == ["stalled-loss"]


def test_a_rule_that_abstains_is_named_with_its_reason():
    report = judged(healthy_run(), plugins=plugin(modest))
    assert [(a.rule, a.reason) for a in report.not_judged] == [("modest", "too dark")]
    assert report.status == "healthy"


def test_the_reason_names_the_objective_when_there_are_several():
    histories = healthy_run(objective="first"), healthy_run(objective="second")
    reasons = [a.reason for a in judged(*histories, plugins=plugin(modest)).not_judged]
    assert reasons == ["first: too dark", "second: too dark"]


def test_a_rule_warns_nobody():
    report = judged(healthy_run(100, run={"cleared_early": None, "skipped": None, "gradient_cosine": None}))
    assert dict(report.failures) == {}


# -- the verdict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "severity"), [((Role.CAUSE,), "warning"), ((Role.CAUSE, Role.HARM), "error"), ((Role.NOTE,), "info")]
)
def test_the_severity_follows_from_the_roles(roles, severity):
    (v,) = only(shows("XX010", "ill", *(harm(role=r) for r in roles)))
    assert v.severity == severity


def test_a_verdict_has_its_first_step_and_the_place_of_its_first_evidence():
    (v,) = only(shows("XX010", "ill", harm(9), harm(5, "second"), harm(7, "first")))
    assert (v.step, v.module, v.source, v.summary) == (5, "second", "model.py:11", "It is ill")


def test_evidence_gets_the_source_of_its_module():
    (v,) = only(shows("XX010", "ill", harm(1, "second"), harm(1, "first"), harm(1)))
    assert [e.source for e in v.evidence] == ["model.py:11", "model.py:10", None]


def test_the_root_module_is_no_place_of_its_own():
    (v,) = only(shows("XX010", "ill", harm(1, "")))
    assert (v.module, v.source) == (None, "model.py:9")


# -- several objectives ----------------------------------------------------------------------------------------------


def test_with_several_objectives_each_verdict_names_its_own():
    report = judged(healthy_run(objective="generator"), healthy_run(objective="critic", loss=stuck(100)))
    assert [(v.name, v.objective) for v in report.verdicts] == [("stalled-loss", "critic")]


def test_with_one_objective_none_is_named():
    assert [v.objective for v in judged(healthy_run(loss=stuck(100))).verdicts] == [None]


def test_what_was_watched_is_told():
    history = healthy_run()
    history.facts["limits"] = {"activations": "compiled"}
    watched = judged(history).watched
    elements = sum(int(np.prod(s)) + s[0] for s in LAYERS.values())
    assert watched == {
        "framework": "torch",
        "steps": 100,
        "objectives": [
            {
                "name": "SGD",
                "optimizer": "SGD",
                "parameters": 6,
                "elements": elements,
                "steps": 100,
                "loss_calls": ["mse_loss at train.py:20"],
                "withheld": 0,
            }
        ],
        "limits": {"activations": "compiled"},
        "bundles": [],
        "layers": [],
    }
