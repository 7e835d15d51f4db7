"""What a recipe makes of gradients, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from gradscope.recipe import Recipe
from gradscope.reference.gradients import average, clip_adaptive, decayed, prepared

WEIGHTS = {"w": np.array([[3.0, 0.0], [4.0, -2.0]]), "b": np.array([1.0, -1.0])}
GRADIENTS = {"w": np.array([[0.3, 0.1], [0.4, 0.0]]), "b": np.array([2.0, 0.0])}


def found(recipe: Recipe) -> dict[str, np.ndarray]:
    """What the optimizer gets."""
    return prepared(recipe, WEIGHTS, GRADIENTS)[1]


def test_gradients_of_several_batches_are_averaged() -> None:
    (mean,) = average([{"a": np.array([1.0])}, {"a": np.array([2.0])}, {"a": np.array([6.0])}]).values()
    assert mean.tolist() == [3.0]


def test_penalties_act_on_matrices_alone() -> None:
    assert found(Recipe(l1=0.5))["w"].tolist() == [[0.8, 0.1], [0.9, -0.5]]
    assert found(Recipe(l2=0.1))["w"] == pytest.approx(np.array([[0.6, 0.1], [0.8, -0.2]]))
    assert found(Recipe(l1=0.5, l2=0.1))["b"].tolist() == [2.0, 0.0]


def test_clipping_by_value_bounds_each_entry() -> None:
    clipped = found(Recipe(clip_value=0.35))
    assert clipped["w"].tolist() == [[0.3, 0.1], [0.35, 0.0]]
    assert clipped["b"].tolist() == [0.35, 0.0]


def test_adaptive_clipping_bounds_each_unit_by_its_weights() -> None:
    clipped = clip_adaptive(WEIGHTS["w"], GRADIENTS["w"], 0.05)  # norms of weights 5 and 2, of gradients 0.5 and 0.1
    assert clipped == pytest.approx(np.array([[0.15, 0.1], [0.2, 0.0]]))
    assert clip_adaptive(WEIGHTS["b"], GRADIENTS["b"], 0.5) == pytest.approx(np.array([np.sqrt(2) / 2, 0.0]))


def test_weights_of_zero_still_let_a_small_gradient_pass() -> None:
    assert clip_adaptive(np.zeros((2, 1)), np.array([[3.0], [4.0]]), 0.1) == pytest.approx(
        1e-4 * np.array([[0.6], [0.8]])
    )
    assert clip_adaptive(np.zeros((2, 1)), np.zeros((2, 1)), 0.1).tolist() == [[0.0], [0.0]]


def test_the_order_is_penalties_then_value_then_unit_then_norm() -> None:
    recipe = Recipe(l1=10.0, clip_value=1.0, clip_norm=0.1)
    before, after = prepared(recipe, WEIGHTS, GRADIENTS)
    assert before["w"].tolist() == [[1.0, 0.1], [1.0, -1.0]]
    assert np.sqrt(sum(np.square(g).sum() for g in after.values())) == pytest.approx(0.1)
    assert after["w"] == pytest.approx(before["w"] * after["b"][0])


def test_decay_is_decoupled_and_spares_what_is_no_matrix() -> None:
    after = decayed(Recipe(decay=0.5), 0.2, WEIGHTS)
    assert after["w"] == pytest.approx(0.9 * WEIGHTS["w"])
    assert after["b"].tolist() == [1.0, -1.0]
    assert WEIGHTS["w"][0, 0] == 3.0


@pytest.mark.parametrize("recipe", [Recipe(l1=0.1, l2=0.1, clip_value=1.0, clip_adaptive=0.1, clip_norm=0.5)])
def test_precision_stays(recipe: Recipe) -> None:
    narrow = [{k: v.astype("f4") for k, v in given.items()} for given in (WEIGHTS, GRADIENTS)]
    for one in prepared(recipe, *narrow):
        assert {g.dtype for g in one.values()} == {np.dtype("f4")}
