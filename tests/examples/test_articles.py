"""The systems of examples/articles: what is right learns and is judged healthy, each mistake is named."""

from __future__ import annotations

import pytest

from tests.examples.programs import FOLDER, check, score

SOUND = {
    "text_safety": ("torch", "accuracy", 0.97),
    "linear_batches": ("torch", "error", 0.55),
    "full_batch_descent": ("torch", "error", 0.55),
    "digits_convolution": ("torch", "accuracy", 0.88),
    "digits_batch_norm": ("tensorflow", "accuracy", 0.95),
    "arrays_regression": ("tensorflow", "error", 0.3),
    "arrays_regression_mxnet": ("mxnet", "error", 0.3),
    "digits_tape": ("tensorflow", "accuracy", 0.95),
    "digits_tape_convolution": ("tensorflow", "accuracy", 0.95),
}
"""Framework, and the accuracy that is reached at least, or the error (beside that of the mean) at most."""
SICK = {
    "text_safety_without_zero_grad": ("torch", "stale-gradient", [None], 0),
    "digits_batch_norm_gamma_twice": ("tensorflow", "missing-gradient", ["batch_norm.gamma"], 0),
    "digits_batch_norm_without_moving_averages": (
        *("tensorflow", "unchanged-parameter"),
        *(["batch_norm.moving_mean", "batch_norm.moving_variance"], 0),
    ),
    "arrays_mean_difference": ("tensorflow", "diverging-loss", [None, "output"], 1),
    "arrays_mean_difference_mxnet": ("mxnet", "diverging-loss", [None, "2"], 1),
    "digits_tape_softmax_twice": ("tensorflow", "output-loss-mismatch", ["output"], 1),
    "digits_tape_branch_left_out": (
        *("tensorflow", "missing-gradient"),
        *(["dense.kernel", "dense.bias", "output.kernel", "output.bias"], 1),
    ),
    "digits_tape_inputs_stepped": (
        *("tensorflow", "unchanged-parameter"),
        *(["hidden.kernel", "hidden.bias", "output.kernel", "output.bias"], 1),
    ),
}
"""Framework, the verdict that comes first, where it is, and the exit code: 0 where training goes on well enough."""
FAILING = {
    "text_safety_parameters_stepped": (
        "torch",
        "the script raised AttributeError before any optimizer step: 'generator' object has no attribute 'step'",
        "parameters.step()",
    ),
    "digits_kernel_too_large": (
        "torch",
        "given (128, 1, 28, 28), weight (64, 1, 32, 32), bias (64,): Calculated padded input size per channel",
        "in layer '0' (Conv2d) at ",
    ),
}
"""Framework, a part of the reason, and a part of what stands in the traceback."""
DATA = {"arrays", "digits", "sentences"}


def test_every_program_is_run_here() -> None:
    assert {p.stem for p in FOLDER.glob("*.py")} == {*SOUND, *SICK, *FAILING} | DATA


@pytest.mark.parametrize("name", SOUND)
def test_what_is_right_learns(name: str) -> None:
    framework, kind, bound = SOUND[name]
    pytest.importorskip(framework)
    reached = score(name)
    assert reached >= bound if kind == "accuracy" else reached <= bound


@pytest.mark.parametrize("name", SOUND)
def test_what_is_right_is_healthy(name: str) -> None:
    pytest.importorskip(SOUND[name][0])
    checked = check(name, "--fail-on", "warning")
    assert (checked.code, checked.report["status"], checked.names()) == (0, "healthy", [])


@pytest.mark.parametrize("name", SICK)
def test_a_mistake_is_named_where_it_is(name: str) -> None:
    framework, verdict, places, code = SICK[name]
    pytest.importorskip(framework)
    checked = check(name)
    assert checked.names()[0] == verdict
    assert [checked.places(verdict), checked.code] == [places, code]
    others = [v for v in checked.report["verdicts"] if v["name"] != verdict and v["severity"] != "info"]
    assert all(v["consequence_of"] == verdict for v in others)


@pytest.mark.parametrize("name", FAILING)
def test_a_program_that_cannot_run_is_not_judged(name: str) -> None:
    framework, reason, told = FAILING[name]
    pytest.importorskip(framework)
    checked = check(name)
    assert (checked.code, checked.report["status"]) == (2, "not-judged")
    assert reason in checked.report["cannot"]
    assert told in checked.failure


def test_a_verdict_points_at_the_line_of_its_layer() -> None:
    pytest.importorskip("tensorflow")
    line = 'keras.layers.Dense(10, activation="softmax", name="output"),'
    loss = (
        "loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=tf.one_hot(y, 10), logits=probabilities))"
    )
    assert check("digits_tape_softmax_twice").line("output-loss-mismatch") in {line, loss}
