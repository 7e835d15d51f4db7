"""GS702 loss-scale-collapse."""

import numpy as np
import pytest
from gradscope.history import History
from gradscope.rules.loss_scale_collapse import loss_scale_collapse

from tests.specimens import found, healthy_run, signs, stuck


def sick(*, skipped: int = 100, halvings: float = 60.0, steps: int = 100) -> History:
    """The last `skipped` of 100 steps overflow; the scale falls from 65536 by so many halvings."""
    return healthy_run(
        steps,
        loss=stuck(steps),
        run={
            "skipped": np.arange(steps) >= steps - skipped,
            "loss_scale": 65536.0 / 2 ** np.linspace(0, halvings, steps),
        },
    )


def test_a_scale_that_only_falls_is_harm():
    assert signs(loss_scale_collapse, sick()) == {
        ("share of skipped steps in the second half", None, "harm"),
        ("halvings of the loss scale", None, "harm"),
    }


@pytest.mark.parametrize(("skipped", "flagged"), [(25, True), (24, False)])
def test_share_is_the_least_part_of_the_second_half(skipped, flagged):
    assert bool(found(loss_scale_collapse, sick(skipped=skipped))) is flagged


@pytest.mark.parametrize(("halvings", "flagged"), [(10.01, True), (9.99, False)])
def test_halvings_is_the_least_fall_of_the_scale(halvings, flagged):
    assert bool(found(loss_scale_collapse, sick(halvings=halvings))) is flagged


@pytest.mark.parametrize(("steps", "flagged"), [(20, True), (19, False)])
def test_fewest_is_the_least_number_of_steps(steps, flagged):
    assert bool(found(loss_scale_collapse, sick(steps=steps, skipped=steps))) is flagged


def test_skips_while_the_scale_is_searched_show_nothing():
    first = np.arange(100) < 15
    run = {"skipped": first, "loss_scale": 2.0 ** np.maximum(4, 24 - np.arange(100))}
    assert not found(loss_scale_collapse, healthy_run(run=run))


def test_a_run_without_a_scaler_shows_nothing():
    assert not found(loss_scale_collapse, healthy_run())
