"""watch() without a framework: observe(), log(), report() on plain arrays."""

import json
import math
import sys

import gradscope
import numpy as np
import pytest
from gradscope.errors import SettingsError, UnknownRule, UsageError
from gradscope.history import MISSING
from gradscope.scope import Enough, Scope
from gradscope.settings import Settings


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A folder without a pyproject.toml: the settings are the defaults."""
    monkeypatch.chdir(tmp_path)


def train(scope: Scope, *, steps: int = 60, rate: float = 0.05, broken_from: int = 10**9, logged: bool = False) -> None:
    """Least squares by gradient descent, in numpy, observed."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(4, 3))
    weight, bias = random.normal(size=(4, 3)), np.ones(3)
    for step in range(steps):
        x = random.normal(size=(16, 4))
        error = x @ weight + bias - x @ truth
        loss = float((error**2).mean())
        gradients = {"net.weight": 2 * x.T @ error / error.size, "net.bias": 2 * error.mean(axis=0) / 3}
        if step >= broken_from:
            gradients["net.weight"][0, 0] = math.nan
        weight, bias = weight - 4 * rate * gradients["net.weight"], bias - 4 * rate * gradients["net.bias"]
        parameters = {"net.weight": weight, "net.bias": bias}
        given = {} if logged else {"loss": loss}
        scope.observe(step=step, gradients=gradients, parameters=parameters, learning_rate=rate, **given)
        if logged:
            scope.log(loss=loss)


def losses(scope: Scope) -> list[float]:
    return scope.histories[0].run("loss").tolist()


def test_a_training_in_numpy_that_learns_is_healthy():
    scope = gradscope.watch()
    train(scope)
    report = scope.report()
    assert (report.status, report.verdicts, dict(report.failures)) == ("healthy", (), {})


def test_a_gradient_that_is_not_finite_is_found_with_its_step_and_place():
    scope = gradscope.watch()
    train(scope, broken_from=30)
    report = scope.report()
    found = {v.name: v for v in report.verdicts}
    assert {"non-finite-gradient", "non-finite-loss", "non-finite-parameter"} <= set(found)
    verdict = found["non-finite-gradient"]
    assert (verdict.step, verdict.module, verdict.evidence[0].parameter) == (30, "net", "net.weight")
    assert dict(report.failures) == {}


def test_steps_that_are_far_too_long_are_found():
    scope = gradscope.watch()
    train(scope, rate=3.0, steps=20)
    assert {"oversized-update", "diverging-loss"} <= {v.name for v in scope.report().verdicts}


def test_the_report_can_be_asked_for_at_any_time():
    scope = gradscope.watch()
    assert scope.report().cannot == "no optimizer step was taken: there is nothing to judge"
    train(scope, steps=3)
    assert scope.report().cannot == "only 3 optimizer steps seen; at least 5 are needed"


def test_gradients_alone_can_be_observed():
    scope = gradscope.watch()
    for step in range(20):
        scope.observe(step=step, gradients={"a.weight": np.ones((2, 2)), "b.weight": None}, loss=1.0 / (step + 1))
    norms = scope.histories[0]["gradient"]
    assert norms.column("gradient_norm")[0].tolist() == [2.0, MISSING]
    assert dict(scope.report().failures) == {}


def test_the_loss_alone_can_be_observed():
    scope = gradscope.watch()
    for step in range(20):
        scope.observe(step=step, loss=2.0**step)
    report = scope.report()
    assert [v.name for v in report.verdicts] == ["diverging-loss"]
    assert dict(report.failures) == {}


def test_updates_are_measured_against_the_last_call():
    scope = gradscope.watch()
    for step, weight in enumerate(([3.0, 4.0], [3.0, 4.5], [3.0, 4.5])):
        scope.observe(step=step, parameters={"w": np.array(weight)})
    table = scope.histories[0]["parameter"]
    assert table.series("update_norm", "w").tolist() == pytest.approx([math.nan, 0.5, 0.0], nan_ok=True)
    assert table.series("moved_fraction", "w").tolist() == pytest.approx([math.nan, 0.5, 0.0], nan_ok=True)
    assert table.series("parameter_norm", "w")[1] == 5.0


def test_what_was_observed_is_copied():
    scope, weight = gradscope.watch(), np.zeros(2)
    scope.observe(step=0, parameters={"w": weight})
    weight += 1.0
    scope.observe(step=1, parameters={"w": weight})
    assert scope.histories[0]["parameter"].series("update_norm", "w")[1] == pytest.approx(math.sqrt(2))


def test_arrays_of_any_kind_of_number_are_taken():
    scope = gradscope.watch()
    scope.observe(step=0, gradients={"a": [1, 2], "b": np.float32(3), "c": np.ones(4, "f2")})
    assert scope.histories[0]["gradient"].column("gradient_norm")[0].tolist() == pytest.approx([math.sqrt(5), 3, 2])


def test_a_gradient_too_large_for_float32_is_no_infinite_one():
    scope = gradscope.watch()
    for step in range(10):
        scope.observe(step=step, gradients={"w": np.full((2, 2), 1e60)}, loss=1.0)
    assert "non-finite-gradient" not in {v.name for v in scope.report().verdicts}


@pytest.mark.parametrize("step", [3, 2, -1])
def test_steps_must_ascend(step):
    scope = gradscope.watch()
    scope.observe(step=3, loss=1.0)
    with pytest.raises(UsageError) as caught:
        scope.observe(step=step, loss=1.0)
    assert str(caught.value) == f"observe(step={step}): steps must ascend; the last one was 3"


@pytest.mark.parametrize("argument", ["gradients", "parameters"])
def test_arrays_must_hold_numbers(argument):
    with pytest.raises(UsageError, match=r"observe\(\): 'w' must hold numbers, got an array of <U1"):
        gradscope.watch().observe(step=0, **{argument: {"w": ["a", "b"]}})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"step": "a"}, "observe(): step must be a whole number, got str 'a'"),
        ({"step": 1.5}, "observe(): step must be a whole number, got float 1.5"),
        ({"step": None}, "observe(): step must be a whole number, got NoneType None"),
        ({"loss": "a"}, "observe(): loss must be one number, got str 'a'"),
        ({"loss": [1.0]}, "observe(): loss must be one number, got list [1.0]"),
        ({"learning_rate": {}}, "observe(): learning_rate must be one number, got dict {}"),
        ({"gradients": 5}, "observe(): gradients must be a mapping from name to array, got int"),
        ({"gradients": [np.ones(3)]}, "observe(): gradients must be a mapping from name to array, got list"),
        ({"parameters": "w"}, "observe(): parameters must be a mapping from name to array, got str"),
        ({"parameters": {3: [1.0]}}, "observe(): the names of parameters must be texts, got int 3"),
    ],
)
def test_what_observe_does_not_take_is_refused_with_what_it_does(given, message):
    scope = gradscope.watch()
    with pytest.raises(UsageError) as caught:
        scope.observe(**({"step": 0} | given))
    assert str(caught.value) == message
    assert not any(h.steps for h in scope.histories)


def test_arrays_must_be_regular():
    with pytest.raises(UsageError, match=r"observe\(\): 'w' must be an array, got list: "):
        gradscope.watch().observe(step=0, gradients={"w": [[1.0], [1.0, 2.0]]})


def test_a_step_may_be_any_whole_number():
    scope = gradscope.watch()
    scope.observe(step=np.int64(3), loss=np.float32(1.0))
    assert losses(scope) == [1.0]


def test_a_refused_call_leaves_no_step_behind():
    scope = gradscope.watch()
    with pytest.raises(UsageError):
        scope.observe(step=0, gradients={"w": ["a"]})
    scope.observe(step=0, gradients={"w": [1.0]})
    assert scope.histories[0].steps == 1


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


def test_the_memory_of_an_observation_is_bounded():
    scope = gradscope.watch(budget=2**17)
    gradient = {f"layer{i}.weight": np.ones((2, 2)) for i in range(5)}
    for step in range(3000):
        scope.observe(step=step, gradients=gradient, loss=1.0)
    held = sum(t.column(t.quantities[0]).base.nbytes for t in scope.histories[0].tables.values())
    assert held <= 2**17
