"""observe() on plain arrays: what is noted, what is refused."""

import math

import gradscope
import numpy as np
import pytest
from gradscope.errors import UsageError
from gradscope.history import MISSING

from tests.least_squares import losses, train

pytestmark = pytest.mark.usefixtures("nowhere")


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


def test_the_memory_of_an_observation_is_bounded():
    scope = gradscope.watch(budget=2**17)
    gradient = {f"layer{i}.weight": np.ones((2, 2)) for i in range(5)}
    for step in range(3000):
        scope.observe(step=step, gradients=gradient, loss=1.0)
    held = sum(t.column(t.quantities[0]).base.nbytes for t in scope.histories[0].tables.values())
    assert held <= 2**17
