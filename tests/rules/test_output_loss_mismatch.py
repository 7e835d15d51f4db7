"""GS603 output-loss-mismatch."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.output_loss_mismatch import output_loss_mismatch

from tests.specimens import CALL, found, healthy_run, learning, signs, stuck

SOFTMAX = "probabilities enter a loss that applies softmax: largest input"
SIGMOID = "probabilities enter a loss that applies sigmoid: largest input"
LOGARITHM = "probabilities enter a loss that expects their logarithm: largest input"
RAW = "raw scores enter a loss that expects probabilities: extreme input"
SCORES = "raw scores enter a loss that expects log-probabilities: largest input"


def sick(
    function: str = "cross_entropy", operation: str = "softmax", *, low=0.0, high=1.0, margin=None, loss=None, **own
) -> History:
    """What comes out of `operation`, between low and high, enters `function`; nothing is learnt."""
    return healthy_run(
        loss=stuck(100) if loss is None else loss,
        call={"prediction_min": low, "prediction_max": high, "margin": margin},
        traits={CALL: {"function": function, "operation": operation, "prediction_shape": (32, 10)} | own},
    )


@pytest.mark.parametrize(
    ("history", "quantity"),
    [
        (sick(), SOFTMAX),
        (sick(operation="sigmoid"), SOFTMAX),
        (sick(operation="", margin=0.0), SOFTMAX),
        (sick("binary_cross_entropy_with_logits", "sigmoid"), SIGMOID),
        (sick("binary_cross_entropy_with_logits", "softmax"), SIGMOID),
        (sick("categorical_cross_entropy", "", low=-4.0, high=6.0, margin=np.inf), RAW),
        (
            sick("categorical_cross_entropy", "sigmoid", margin=2.0),
            "outputs that do not compete: largest |sum - 1| of a sample",
        ),
        (sick("binary_cross_entropy", "", low=-4.0, high=6.0), RAW),
        (sick("binary_cross_entropy", "relu", high=3.0), RAW),
        (sick("nll_loss", "softmax"), LOGARITHM),
        (sick("nll_loss", "", low=-3.0, high=3.0), SCORES),
        (sick("kl_div", "softmax"), LOGARITHM),
        (sick("kl_div", "", high=0.5), LOGARITHM),
        (sick("mse_loss", "softmax", one_unit_softmax=True), "units under the softmax"),
        (sick("nll_loss", "log_softmax over the batch", high=0), "softmax runs over the batch: dimension"),
        (sick(operation="relu", high=9.0), "scores pass a relu before the loss: smallest input"),
        (sick(operation="", low=-5.0, high=5.0, prediction_shape=(32, 1)), "classes of a cross-entropy"),
        (sick(operation="tanh", low=-1.0), "scores pass a tanh before the loss: smallest input"),
    ],
)
def test_an_activation_that_the_loss_does_not_expect_is_harm(history, quantity):
    assert signs(output_loss_mismatch, history) == {(quantity, "output", "harm")}


@pytest.mark.parametrize(
    "history",
    [
        sick(operation="", low=-5.0, high=5.0),
        sick(operation="log_softmax", low=-9.0, high=0.0),
        sick("binary_cross_entropy", "sigmoid"),
        sick("categorical_cross_entropy", "softmax", margin=1e-6),
        sick("binary_cross_entropy_with_logits", "", low=-4.0, high=4.0),
        sick("nll_loss", "log_softmax", low=-9.0, high=0.0),
        sick("kl_div", "log_softmax", low=-9.0, high=0.0),
        sick("mse_loss", "relu", high=9.0),
        healthy_run(),
    ],
)
def test_what_the_loss_expects_shows_nothing(history):
    assert not found(output_loss_mismatch, history)


def test_what_enters_what_is_told_with_its_place():
    assert [(e.detail, e.source) for e in found(output_loss_mismatch, sick())] == [
        ("softmax into cross_entropy", "train.py:20")
    ]


@pytest.mark.parametrize(("closing", "role"), [(0.51, "harm"), (0.49, "cause")])
def test_poor_is_the_error_from_which_on_it_is_harm(closing, role):
    loss = np.where(np.arange(100) < 50, 1.0, closing)
    history = sick("mse_loss", "softmax", one_unit_softmax=True, loss=loss)
    assert signs(output_loss_mismatch, history) == {("units under the softmax", "output", role)}


@pytest.mark.parametrize(("calls", "flagged"), [(90, True), (89, False)])
def test_share_is_the_least_part_of_calls_that_show_it(calls, flagged):
    high = np.where(np.arange(100) < calls, 1.0, 3.0)
    assert bool(found(output_loss_mismatch, sick(high=high))) is flagged


@pytest.mark.parametrize(("margin", "flagged"), [(0.9e-3, True), (1.1e-3, False)])
def test_tolerance_is_how_near_rows_are_to_summing_to_one(margin, flagged):
    assert bool(found(output_loss_mismatch, sick(operation="", margin=margin))) is flagged


def test_scores_that_pass_a_relu_are_a_cause_in_a_run_that_learns():
    history = sick(operation="relu", high=9.0, loss=learning(100))
    assert {role for _, _, role in signs(output_loss_mismatch, history)} == {"cause"}


@pytest.mark.parametrize(("labels", "flagged"), [(0.2, True), (0.1, False)])
def test_a_softmax_over_labels_of_which_several_are_true_is_flagged(labels, flagged):
    history = healthy_run(
        loss=stuck(100),
        call={"prediction_min": 0.0, "prediction_max": 1.0, "target_mean": labels},
        traits={CALL: {"function": "binary_cross_entropy", "operation": "softmax", "prediction_shape": (32, 10)}},
    )
    assert bool(found(output_loss_mismatch, history)) is flagged
