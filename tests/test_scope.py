"""watch() without a framework: log(), settings, limits, closing."""

import json
import math
import sys

import gradscope
import numpy as np
import pytest
from gradscope.errors import SettingsError, UnknownRule, UsageError
from gradscope.scope import Enough, Scope
from gradscope.settings import Settings

from tests.least_squares import losses, train

pytestmark = pytest.mark.usefixtures("nowhere")


# -- log() -----------------------------------------------------------------------------------------------------------


def test_a_loss_logged_after_a_step_belongs_to_it():
    logged, given = gradscope.watch(), gradscope.watch()
    train(logged, logged=True)
    train(given)
    assert losses(logged) == losses(given)


def test_a_loss_logged_before_a_step_belongs_to_the_step_that_comes():
    scope = gradscope.watch()
    for step in range(3):
        scope.log(loss=step + 0.5)
        scope.observe(step=step, gradients={"w": [1.0]})
    assert losses(scope) == [0.5, 1.5, 2.5]


def test_a_loss_that_was_given_is_not_replaced():
    scope = gradscope.watch()
    scope.observe(step=0, loss=1.0)
    scope.log(loss=9.0)
    assert losses(scope) == [1.0]


def test_anything_that_float_takes_can_be_logged():
    scope = gradscope.watch()
    scope.observe(step=0, gradients={"w": [1.0]})
    scope.log(loss=np.float32(0.5))
    assert losses(scope) == [0.5]


@pytest.mark.parametrize(
    ("loss", "shown"), [("x", "str 'x'"), (None, "NoneType None"), ([1.0], "list [1.0]"), ({}, "dict {}")]
)
def test_a_loss_that_is_no_number_is_refused(loss, shown):
    with pytest.raises(UsageError) as caught:
        gradscope.watch().log(loss=loss)
    assert str(caught.value) == f"log(): loss must be one number, got {shown}"


def test_a_logged_loss_that_is_not_finite_is_found():
    scope = gradscope.watch()
    for step in range(10):
        scope.observe(step=step, gradients={"w": [1.0]})
        scope.log(loss=math.nan if step == 7 else 1.0 / (step + 1))
    assert [(v.name, v.step) for v in scope.report().verdicts] == [("non-finite-loss", 7)]


# -- settings, limits, closing ---------------------------------------------------------------------------------------


def stalled(scope: Scope):
    """The verdicts on a loss that doubles each step."""
    for step in range(20):
        scope.observe(step=step, loss=2.0**step)
    return scope.report().verdicts


@pytest.mark.parametrize("settings", [{"ignore": ["GS301"]}, Settings(ignore=("diverging-loss",))])
def test_settings_are_a_mapping_or_settings(settings):
    assert not stalled(gradscope.watch(settings=settings))


def test_without_settings_those_of_the_nearest_pyproject_hold(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.gradscope]\nignore = ["GS301"]\n')
    assert not stalled(gradscope.watch())


def test_wrong_settings_are_refused_by_watch():
    with pytest.raises(SettingsError, match="settings: unknown key 'ignored'"):
        gradscope.watch(settings={"ignored": []})


@pytest.mark.parametrize("settings", [{"ignore": ["GS999"]}, {"rules": {"lazy": {"x": 1}}}])
def test_an_unknown_rule_is_refused_by_watch_and_not_at_the_end_of_the_training(settings):
    with pytest.raises(UnknownRule):
        gradscope.watch(settings=settings)


def test_a_thing_of_no_framework_is_refused():
    with pytest.raises(UsageError, match=r"no adapter recognizes 'int'.*; frameworks known here: "):
        gradscope.watch(3)


def test_an_optimizer_without_a_model_is_refused():
    with pytest.raises(
        UsageError, match=r"watch\(\): an optimizer without its model; expected watch\(model, optimizer\)"
    ):
        gradscope.watch(None, object())


def test_a_scope_with_a_limit_has_enough_at_its_last_step():
    scope = Scope(steps=3)
    scope.stepped(2)
    with pytest.raises(Enough):
        scope.stepped(3)


def test_progress_is_told_step_by_step():
    scope, seen = Scope(), []
    scope.on_progress = seen.append
    scope.stepped(1)
    scope.stepped(2)
    assert seen == [1, 2]


def test_a_closed_scope_still_reports():
    with gradscope.watch() as scope:
        train(scope)
    scope.close()
    assert scope.report().status == "healthy"


def test_observing_loads_no_framework():
    frameworks = {"torch", "tensorflow", "jax"} & set(sys.modules)
    scope = gradscope.watch()
    train(scope)
    scope.report()
    assert {"torch", "tensorflow", "jax"} & set(sys.modules) == frameworks


def test_the_report_of_a_broken_training_is_sound_json():
    scope = gradscope.watch()
    train(scope, broken_from=30)
    json.dumps(scope.report().as_dict(), allow_nan=False)
