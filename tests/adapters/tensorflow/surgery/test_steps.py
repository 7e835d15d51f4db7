"""Remedies that change how a step is taken: optimizer, rate, penalties, steps that are left out."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradscope.errors import CannotApply
from gradscope.recipe import Recipe

from gradscope_tensorflow.surgery import treat
from tests.adapters.tensorflow.surgery.workloads import model_of, penalized, poisoned, regression, run, sgd, workload

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the trainer is TensorFlow's")


def test_eps_and_rate_of_the_optimizer_are_changed():
    made = treat(workload(optimizer=None), "full-precision-weights", {"eps": 1e-4, "factor": 0.1})
    assert made.optimizer([]).epsilon == 1e-4
    assert made.recipe.factor(3) == 0.1
    with pytest.raises(CannotApply, match="the optimizer has no epsilon"):
        treat(workload(), "full-precision-weights", {"eps": 1e-4})


@pytest.mark.parametrize("given", [sgd(), keras.optimizers.SGD(0.05)])
def test_the_optimizer_is_replaced_by_name(given):
    made = treat(workload(optimizer=given), "replace-optimizer", {"optimizer": "AdamW", "rate": 0.01}).optimizer([])
    assert (type(made).__name__, float(made.learning_rate)) == ("AdamW", pytest.approx(0.01))
    with pytest.raises(CannotApply, match="the optimizer is SGD already"):
        treat(workload(optimizer=given), "replace-optimizer", {"optimizer": "SGD", "rate": 0.01})


def test_the_rate_falls_where_the_loss_stands_still():
    given = workload(batches=regression(batches=1), optimizer=sgd(1e-9))
    made = treat(given, "reduce-on-plateau", {"factor": 0.5, "patience": 2})
    run(made, steps=62)
    assert made.recipe.factor(62) == 0.25
    run(made, steps=1)
    assert made.recipe.factor(1) == 1


def test_penalties_of_model_optimizer_and_recipe_are_weakened():
    given = workload(penalized(), optimizer=sgd(weight_decay=1.0), recipe=Recipe(l1=0.5, decay=2.0))
    made = treat(given, "weaken-penalty", {"factor": 0.01})
    assert (made.recipe.l1, made.recipe.l2, made.recipe.decay) == (0.005, 0, 0.02)
    assert made.optimizer([]).weight_decay == 0.01
    before, after = (float(tf.add_n(m.losses)) for m in (given.model, model_of(made)))
    assert after == pytest.approx(0.01 * before, rel=1e-4)
    with pytest.raises(CannotApply, match="neither model, optimizer nor recipe has a penalty"):
        treat(workload(), "weaken-penalty", {"factor": 0.01})


def test_no_step_is_taken_along_what_is_not_finite():
    assert not np.isfinite(run(workload(batches=poisoned()), steps=10)[1].get_weights()[0]).all()
    model = run(treat(workload(batches=poisoned()), "stop-before-poison", {}), steps=10)[1]
    assert np.isfinite(model.get_weights()[0]).all()
