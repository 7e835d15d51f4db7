"""Workloads of the reference: trained under observation, made afresh, scored, and checked by the command."""

from __future__ import annotations

import random
from pathlib import Path

import gradscope
import numpy as np
import pytest
from gradscope import Scope, Settings, Workload
from gradscope.check import check_cold, check_script
from gradscope.errors import CannotJudge, TargetError, UsageError
from gradscope.recipe import Recipe
from gradscope.reference.activations import ReLU
from gradscope.reference.dropout import Dropout
from gradscope.reference.layers import Dense
from gradscope.reference.losses import mean_squared_error
from gradscope.reference.model import Model
from gradscope.reference.network import Network
from gradscope.reference.normalization import BatchNorm
from gradscope.reference.optimizers import SGD, Adam
from gradscope.reference.training import evaluate, fresh, steps
from gradscope.scope import Enough, adapter_for

from tests.reference.workloads import BATCHES, trained, workload

PROGRAM = """
from gradscope import Workload
from gradscope.reference.losses import mean_squared_error
from gradscope.reference.model import Model
from gradscope.reference.optimizers import SGD
from gradscope.reference.specimens import SPECIMENS

plan = SPECIMENS["{name}"]()

def workload():
    model = {model}
    return Workload(model, mean_squared_error, plan.batches, lambda weights: SGD(plan.rate))

class Net(Model):
    def __init__(self):
        super().__init__(plan.network, plan.weights)
"""


def test_a_training_is_seen_step_by_step_and_found_healthy() -> None:
    one = workload()
    report = trained(one).report()
    assert (report.status, report.framework, dict(report.failures)) == ("healthy", "numpy", {})
    assert report.watched["steps"] == 60


def test_observation_is_counted_by_the_scope_which_ends_it() -> None:
    scope, counts = Scope(Settings(steps=30), steps=12), []
    scope.on_progress = counts.append
    adapter = adapter_for(workload().model)
    with pytest.raises(Enough):
        adapter.train(scope, workload())
    assert counts == list(range(1, 13))


def test_what_cannot_be_noted_hurts_no_training_and_is_told_as_a_failure() -> None:
    def of_words(prediction: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
        return mean_squared_error(prediction, (target == "up").astype("f4"))

    words = [(x, np.where(y > 0, "up", "down")) for x, y in BATCHES]
    one, scope = workload(loss=of_words, batches=words), Scope(Settings(steps=30))
    before = evaluate(one).loss
    adapter_for(one.model).train(scope, one)
    assert list(scope.report().failures) == ["numpy steps"]
    assert evaluate(one).loss < before


def test_a_loss_of_its_own_kind_is_noted() -> None:
    def nearest(prediction: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
        return mean_squared_error(prediction, target.mean((1, 2))[:, None])

    boxes = [(x, np.broadcast_to(y[:, :, None], (16, 3, 2))) for x, y in BATCHES]
    report = trained(workload(loss=nearest, batches=boxes)).report()
    assert not report.failures
    assert report.watched["steps"] == 60


@pytest.mark.parametrize("model", ["Model(plan.network, plan.weights)", "lambda: Model(plan.network, plan.weights)"])
def test_check_trains_a_file_with_a_workload_of_the_reference(tmp_path: Path, model: str) -> None:
    file = tmp_path / "train.py"
    file.write_text(PROGRAM.format(name="deep-sigmoid", model=model))
    report = check_script(file, [], Settings(steps=60)).report
    assert [v.name for v in report.verdicts][:1] == ["vanishing-gradient"]


def test_a_model_class_of_the_reference_is_judged_at_initialization(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text(PROGRAM.format(name="exploding-start", model="None"))
    report = check_cold(file, "Net", (8,), None, Settings()).report
    assert [v.name for v in report.verdicts] == ["poor-initialization"]
    assert [row["module"] for row in report.watched["layers"]] == [f"dense{i}" for i in range(1, 6)]
    with pytest.raises(TargetError, match=r"does not take an input of shape \[64, 7\]"):
        check_cold(file, "Net", (7,), None, Settings())


def test_watch_says_what_to_do_instead() -> None:
    with pytest.raises(UsageError, match=r"a Model of gradscope\.reference is not watched"):
        gradscope.watch(workload().model)


# -- the recipe, where it shows in steps -------------------------------------------------------------------------------


def test_a_schedule_sets_the_rate_of_each_step_and_the_optimizer_keeps_its_own() -> None:
    solver = SGD(0.1)
    one = workload(recipe=Recipe(schedule=lambda step: 1 / (1 + step)))
    assert [s.rate for s in steps(one, 3, solver)] == pytest.approx([0.1, 0.05, 0.1 / 3])
    assert solver.rate == 0.1


def test_batches_grow_by_a_function_of_the_step() -> None:
    one = workload(recipe=Recipe(accumulate=lambda step: 2**step))
    assert [len(s.batches) for s in steps(one, 4)] == [1, 2, 4, 8]


def test_a_full_batch_is_the_mean_over_all_batches() -> None:
    (step,) = steps(workload(recipe=Recipe(full_batch=True)), 1)
    single = [next(steps(workload(batches=[pair]), 1)) for pair in BATCHES]
    assert len(step.batches) == len(BATCHES)
    for name, gradient in step.gradients.items():
        mean = np.mean([s.gradients[name].astype("f8") for s in single], axis=0)
        assert gradient == pytest.approx(mean, rel=1e-4, abs=1e-6)


def test_full_batches_of_an_iterator_that_is_used_up_are_refused() -> None:
    with pytest.raises(CannotJudge, match="batches gave none"):
        list(steps(workload(batches=iter(BATCHES), recipe=Recipe(full_batch=True)), 2))


def test_clipping_by_norm_is_told_with_the_norm_before_it() -> None:
    scope = trained(workload(recipe=Recipe(clip_norm=0.01)), 5)
    history = scope.histories[0]
    assert history.run("clip_limit") == pytest.approx([0.01] * 5)
    assert (history.run("clip_before") > 0.01).all()
    norms = np.sqrt(np.square(history["gradient"].column("gradient_norm"), dtype="f8").sum(1))
    assert norms == pytest.approx([0.01] * 5, rel=1e-5)


# -- afresh ------------------------------------------------------------------------------------------------------------


def test_a_fresh_workload_has_a_model_of_its_own() -> None:
    one = workload()
    before = {k: w.copy() for k, w in one.model.weights.items()}
    made = fresh(one, 3)
    trained(made, 5)
    assert made.model is not one.model
    assert all((one.model.weights[k] == w).all() for k, w in before.items())
    assert any((made.model.weights[k] != w).any() for k, w in before.items())


def test_a_fresh_workload_is_built_anew_where_there_is_a_function() -> None:
    one = workload()
    made = [fresh(Workload(lambda: Model(one.model.network), one.loss, BATCHES), 1).model for _ in range(2)]
    assert made[0] is not made[1]


def test_a_model_that_is_built_follows_the_seed() -> None:
    one = workload(model=lambda: Model(workload().model.network))
    first, second, other = (fresh(one, seed).model.weights["dense1.kernel"] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_a_seed_decides_every_chance() -> None:
    layers = (Dense("a", 8, 16), ReLU("r"), Dropout("d"), Dense("b", 16, 1))
    one = workload(model=Model(Network(layers)), optimizer=Adam(0.01))

    def after(seed: int) -> tuple[float, float, np.ndarray]:
        made = fresh(one, seed)
        trained(made, 5)
        return random.random(), float(np.random.random()), made.model.weights["a.kernel"]

    first, second, other = after(1), after(1), after(2)
    assert first[:2] == second[:2] != other[:2]
    assert (first[2] == second[2]).all()
    assert (first[2] != other[2]).any()


def test_an_optimizer_that_was_given_is_left_as_it_is() -> None:
    solver = Adam(0.01)
    trained(workload(optimizer=solver), 5)
    assert (solver.steps, solver.means) == (0, {})


# -- scores ------------------------------------------------------------------------------------------------------------


def test_a_score_is_the_mean_over_samples_of_what_was_held_out() -> None:
    uneven = [(np.ones((3, 8), "f4"), np.full((3, 1), 2.0, "f4")), (np.ones((1, 8), "f4"), np.zeros((1, 1), "f4"))]
    one = workload(held_out=uneven, metric=lambda output, target: (target > 0).mean())
    output = float(one.model(uneven[0][0])[0, 0])
    found = evaluate(one)
    assert found.loss == pytest.approx((3 * (output - 2) ** 2 + output**2) / 4, rel=1e-5)
    assert found.metric == 0.75
    assert evaluate(workload()).metric is None


def test_a_score_that_is_not_finite_is_nan() -> None:
    broken = [(np.full((2, 8), np.inf, "f4"), np.zeros((2, 1), "f4"))]
    assert np.isnan(evaluate(workload(held_out=broken)).loss)


def test_evaluation_uses_moving_averages_and_changes_nothing() -> None:
    layers = (Dense("a", 8, 4, bias=False), BatchNorm("n", 4), ReLU("r"), Dense("b", 4, 1))
    one = workload(model=Model(Network(layers), seed=0))
    cold = evaluate(one).loss
    trained(one, 20)
    state = {k: v.copy() for k, v in one.model.state.items()}
    assert evaluate(one).loss < cold
    assert all((one.model.state[k] == v).all() for k, v in state.items())
    assert any(
        (v != w).any() for v, w in zip(state.values(), Model(Network(layers), seed=0).state.values(), strict=True)
    )
    single = [(x[:1], y[:1]) for x, y in BATCHES]
    assert np.isfinite(evaluate(workload(model=one.model, batches=single)).loss)


def test_nothing_held_out_is_no_score() -> None:
    with pytest.raises(CannotJudge, match="held_out gave none"):
        evaluate(workload(held_out=[]))


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": Network(())}, "model must be a gradscope.reference Model, got Network"),
        ({"loss": "mse"}, "unknown loss 'mse'; known: mean_squared_error"),
        ({"optimizer": lambda _weights: 3}, "optimizer must build one of gradscope.reference, got int"),
        ({"batches": [3]}, r"a batch must be a pair \(input, target\), got int"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        trained(workload(**changes), 2)


def test_a_network_without_weights_cannot_be_judged() -> None:
    with pytest.raises(CannotJudge, match="no weight to train"):
        trained(workload(model=Model(Network((ReLU("r"),)))), 2)
