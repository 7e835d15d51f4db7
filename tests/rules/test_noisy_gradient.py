"""GS501 noisy-gradient."""

import pytest
from gradscope.history import History
from gradscope.rule import NotJudged
from gradscope.rules.noisy_gradient import noisy_gradient

from tests.specimens import found, healthy_run, noise, signs


def sick(*, cosine: float = 0.01, batch: float = 2, jitter: float = 0.9, steps: int = 100, **run) -> History:
    """Batches of two whose gradients have nothing to do with each other, and a loss that jumps about 1."""
    numbers = {"gradient_cosine": cosine, "batch_size": batch} | run
    return healthy_run(steps, loss=1 + noise(steps, jitter), run=numbers)


def test_gradients_of_tiny_batches_without_a_common_direction_are_harm():
    assert signs(noisy_gradient, sick()) == {("gradient noise scale / batch size", None, "harm")}


def test_the_batch_size_is_told():
    assert [e.detail for e in found(noisy_gradient, sick())] == ["batch size 2"]


@pytest.mark.parametrize(("cosine", "flagged"), [(1 / 21.1, True), (1 / 20.9, False)])
def test_scale_is_the_least_noise_scale_over_batch_size(cosine, flagged):
    assert bool(found(noisy_gradient, sick(cosine=cosine))) is flagged


@pytest.mark.parametrize(("batch", "flagged"), [(16, True), (17, False)])
def test_batch_is_the_largest_size_that_can_be_the_reason(batch, flagged):
    assert bool(found(noisy_gradient, sick(batch=batch))) is flagged


@pytest.mark.parametrize(("jitter", "flagged"), [(0.9, True), (0.1, False)])
def test_noise_is_the_least_deviation_of_the_loss(jitter, flagged):
    assert bool(found(noisy_gradient, sick(jitter=jitter))) is flagged


def test_a_run_that_learns_shows_nothing():
    assert not found(noisy_gradient, healthy_run(run={"gradient_cosine": 0.01, "batch_size": 2}))


@pytest.mark.parametrize("unknown", ["gradient_cosine", "batch_size"])
def test_an_unknown_batch_or_direction_is_not_judged(unknown):
    with pytest.raises(NotJudged, match="the batch size or the direction of gradients is unknown"):
        found(noisy_gradient, sick(**{unknown: None}))


def test_a_loss_that_is_unknown_is_told():
    with pytest.raises(NotJudged, match="the loss is unknown"):
        found(noisy_gradient, healthy_run(run={"loss": None}))
