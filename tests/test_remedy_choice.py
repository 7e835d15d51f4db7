"""Which remedies are told depends on the run: its layers, its loss, its precision, what is there already."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
from gradscope.origin import Origin

from tests.advice import names_of, poisoned, told, vanishing
from tests.specimens import CALL, PARAMETERS, healthy_run, judged, stuck


@pytest.mark.parametrize(("kind", "by"), [("ReLU", "he-initialization"), ("Tanh", "glorot-initialization")])
def test_the_initialization_is_that_of_the_activation(kind, by):
    named = [
        n
        for n in names_of(vanishing(kind), "vanishing-gradient")
        if n in {"he-initialization", "glorot-initialization"}
    ]
    assert named == [by]


def test_where_sigmoids_starve_the_first_layers_no_initialization_and_no_sum_of_them_is_told():
    wanted = ["replace-activation", "batch-normalization", "replace-optimizer"]
    assert names_of(vanishing("Sigmoid"), "vanishing-gradient") == wanted


def test_batch_normalization_has_the_dimensions_of_the_layers():
    history = vanishing("ReLU")
    dense = told(history, "vanishing-gradient", "batch-normalization").code["torch"]
    at = history["module"].index("first")
    history["module"].rename(at, replace(history["module"].subjects[at], type="Conv2d"))
    assert (
        "BatchNorm1d" in dense,
        "BatchNorm2d" in told(history, "vanishing-gradient", "batch-normalization").code["torch"],
    ) == (True, True)


def test_a_recurrent_initialization_is_for_recurrent_networks():
    history = importlib.import_module("tests.rules.test_poor_initialization").sick()
    assert "orthogonal-initialization" not in names_of(history, "poor-initialization")


def test_a_loop_over_time_is_recurrent_whatever_its_weights_are_called():
    history = vanishing("Tanh")
    history["module"].rename(0, replace(history["module"].subjects[0], type="Recurrent"))
    wanted = ["replace-activation", "residual-connection", "replace-optimizer"]
    assert names_of(history, "vanishing-gradient") == wanted


@pytest.mark.parametrize("renamed", [{"type": "BatchNorm1d"}, {"type": "Scale", "name": "BatchNorm_0"}])
def test_a_normalization_that_is_there_by_type_or_by_name_is_not_told_again(renamed):
    history = vanishing("ReLU")
    assert "batch-normalization" in names_of(history, "vanishing-gradient")
    history["module"].rename(1, replace(history["module"].subjects[1], **renamed))
    assert "batch-normalization" not in names_of(history, "vanishing-gradient")


def test_a_contrastive_loss_is_not_for_predictions_with_targets():
    sick = importlib.import_module("tests.rules.test_collapsed_output")
    assert "repel-outputs" not in names_of(sick.sick(), "collapsed-output")
    assert "repel-outputs" in names_of(sick.blind(), "collapsed-output")


def test_the_first_layer_whose_outputs_are_alike_is_told():
    history = importlib.import_module("tests.rules.test_collapsed_output").sick()
    history["module"].series("batch_variation", "second")[:] = 0
    assert "here second is the first" in told(history, "collapsed-output", "find-constant-layer").title


def test_no_straight_through_estimator_where_dead_units_make_the_zeros():
    dead = {"dead_fraction": 1.0, "zero_fraction": {"first: relu": 1.0, "second: relu": 1.0}}
    history = healthy_run(loss=stuck(100), gradients=dict.fromkeys(PARAMETERS, 0.0), modules=dead)
    zero = next(v for v in judged(history).verdicts if v.name == "zero-gradient")
    assert (zero.consequence_of, zero.remedies) == ("dead-units", ())


@pytest.mark.parametrize(
    ("dtype", "gradient", "expected"),
    [
        ("float16", 1.0, "keep the weights in float32"),
        ("float32", 1.0, "look at the step itself"),
        ("float16", np.where(np.arange(100) >= 3, np.nan, 1.0), "skip the step when a gradient is not finite"),
    ],
)
def test_weights_that_break_before_any_gradient_need_precision(dtype, gradient, expected):
    verdict = next(v for v in judged(poisoned(dtype, gradient)).verdicts if v.name == "non-finite-parameter")
    assert [r.title.startswith(expected) for r in verdict.remedies] == [True]


def test_the_sign_of_a_cross_entropy_is_told_in_its_own_words():
    history = healthy_run(
        loss=np.where(np.arange(100) < 40, 1.0, 20.0),
        traits={CALL: {"function": "cross_entropy", "classes": True}},
        classes=[50, 50],
    )
    assert (
        told(history, "diverging-loss", "correct-objective")
        .code["torch"]
        .startswith("loss = F.cross_entropy(output, target)")
    )


def test_clearing_in_the_wrong_place_has_a_title_of_its_own():
    history = healthy_run(loss=stuck(100), run={"cleared_early": 1})
    assert told(history, "unchanged-parameter", "register-parameter").title.startswith(
        "clear the gradients before the backward pass"
    )


def test_an_activation_before_the_loss_is_called_by_its_name():
    history = healthy_run(
        loss=stuck(100),
        traits={CALL: {"function": "cross_entropy", "operation": "relu", "classes": True, "prediction_shape": (32, 3)}},
        call={"prediction_min": 0.0},
    )
    assert (
        told(history, "output-loss-mismatch", "correct-output").code["torch"]
        == "return self.output(h)  # raw scores, no relu"
    )


@pytest.mark.parametrize(("optimizer", "advised"), [("SGD", True), ("Adam", False)])
def test_plain_gradient_descent_alone_is_replaced(optimizer, advised):
    history = vanishing("ReLU")
    history.facts["optimizer"] = optimizer
    assert (told(history, "vanishing-gradient", "replace-optimizer") is not None) is advised


@pytest.mark.parametrize("op", ["exp", "log"])
def test_an_exponential_that_overflowed_in_a_layer_is_replaced(op):
    history = poisoned("float32", np.where(np.arange(100) >= 3, np.nan, 1.0))
    history.facts["origin"] = Origin(phase="forward", step=3, op=op, module="first")
    found = told(history, "non-finite-gradient", "replace-activation")
    assert (found is not None) == (op == "exp")


ORIGINS = {
    "a logarithm": (Origin("forward", 3, "log", reason="logarithm of 0"), {"add-epsilon"}),
    "a mask": (Origin("forward", 3, "softmax", reason="a row that is masked entirely"), {"open-mask"}),
    "an overflow": (
        Origin("forward", 3, "pow", reason="overflow: beyond the largest float16"),
        {"wide-operation"},
    ),
    "data": (Origin("input", 3, culprit="x", reason="x of the batch holds NaN", samples=(4,)), {"check-data"}),
    "a target": (Origin("loss", 3, "mse_loss", culprit="target", reason="target holds NaN"), {"check-data"}),
    "weights": (Origin("parameter", 3, parameter="first.weight", reason="not finite since step 2"), set()),
}


@pytest.mark.parametrize("name", ORIGINS)
def test_where_the_origin_is_known_only_what_can_mend_it_is_told(name):
    origin, expected = ORIGINS[name]
    history = poisoned("float32", np.where(np.arange(100) >= 3, np.nan, 1.0))
    history.facts["origin"] = origin
    told_of = {"add-epsilon", "open-mask", "check-data", "wide-operation"}
    found = {r for r in told_of if told(history, "non-finite-gradient", r) is not None}
    assert found == expected


def test_broken_samples_are_numbered():
    history = poisoned("float32", np.where(np.arange(100) >= 3, np.nan, 1.0))
    history.facts["origin"] = ORIGINS["data"][0]
    reason = told(history, "non-finite-gradient", "check-data").reason
    assert reason.startswith("x of the batch holds NaN (samples 4): ")
