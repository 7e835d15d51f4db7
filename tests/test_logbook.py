"""watch(log_to=): who is told of what, when, and under which keys."""

import math

import gradscope
import pytest
from gradscope.errors import UsageError
from gradscope.history import Subject
from gradscope.scope import Scope

pytestmark = pytest.mark.usefixtures("nowhere")


class Chart:
    """Keeps what a function of (values, step) is called with."""

    def __init__(self):
        self.told = []

    def __call__(self, values, step):
        self.told.append((step, values))

    def of(self, key):
        """(step, value) of every point that has the key."""
        return [(step, values[key]) for step, values in self.told if key in values]


def train(scope: Scope, steps: int, bad_from: int = 10**9):
    """Steps of one weight, with a loss that is no number from some step on."""
    for step in range(steps):
        loss = math.nan if step >= bad_from else 1.0 / (step + 1)
        scope.observe(
            step=step, gradients={"w": [[3.0, 4.0]]}, parameters={"w": [[1.0 + 0.001 * step, 1.0]]}, loss=loss
        )


def test_a_function_is_told_of_every_step_once():
    chart = Chart()
    train(gradscope.watch(log_to=chart), 5)
    assert chart.of("gradscope/grad_norm_total") == [(step, 5.0) for step in range(5)]
    assert [step for step, _ in chart.of("gradscope/update_ratio_max")] == [1, 2, 3, 4]


def test_parameters_are_told_on_request():
    quiet, chart = Chart(), Chart()
    train(gradscope.watch(log_to=quiet), 2)
    train(gradscope.watch(log_to=chart, log_parameters=True), 2)
    assert chart.of("gradscope/grad_norm/w") == [(0, 5.0), (1, 5.0)]
    assert {key for _, values in quiet.told for key in values} == {
        "gradscope/grad_norm_total",
        "gradscope/update_ratio_max",
    }


def test_verdicts_are_counted_on_the_way_and_at_the_end():
    chart = Chart()
    scope = gradscope.watch(log_to=chart)
    train(scope, 130, bad_from=110)
    scope.close()
    (first, before), (last, after) = chart.of("gradscope/errors")
    assert (first, before, last) == (99, 0.0, 129)
    assert after >= 1.0
    assert [step for step, _ in chart.of("gradscope/warnings")] == [99, 129]


def test_closing_twice_counts_once():
    chart = Chart()
    with gradscope.watch(log_to=chart) as scope:
        train(scope, 20)
    scope.close()
    assert len(chart.of("gradscope/errors")) == 1


def test_a_further_optimizer_has_keys_of_its_own():
    chart = Chart()
    scope = gradscope.watch(log_to=chart)
    train(scope, 2)
    other = scope.new_history("Adam 2")
    for table in ("gradient", "parameter"):
        other[table].add(Subject("v"))
    other["gradient"].record(0, {"gradient_norm": {"v": 2.0}})
    other["step"].record(0, {})
    other.rows_written()
    assert chart.of("gradscope/Adam_2/grad_norm_total") == [(0, 2.0)]
    assert len(chart.of("gradscope/grad_norm_total")) == 2


def test_a_chart_that_fails_is_told_once_and_the_run_goes_on():
    calls = []

    def full(values, step):
        calls.append(step)
        raise OSError("disk full")

    scope = gradscope.watch(log_to=full)
    train(scope, 30)
    scope.close()
    report = scope.report()
    assert (calls, report.status) == ([0], "healthy")
    assert report.watched["limits"] == {"metrics for log_to": "OSError: disk full"}


@pytest.mark.parametrize("given", [3, "runs", object(), dict, []])
def test_what_takes_no_metrics_is_refused(given):
    with pytest.raises(UsageError, match=r"watch\(\): log_to=.* expected a SummaryWriter, a run of Weights"):
        gradscope.watch(log_to=given)


def test_without_log_to_nothing_is_computed():
    scope = gradscope.watch()
    train(scope, 3)
    assert scope.histories[0].on_rows is None
