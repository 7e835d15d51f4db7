"""Remedies that change inputs and targets: standardized, moved, scaled, reshaped, checked, shuffled."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradscope.errors import CannotApply

from gradscope_tensorflow.surgery import treat
from tests.adapters.tensorflow.surgery.workloads import images, model_of, picture, plain, poisoned, regression, workload

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the trainer is TensorFlow's")


def test_inputs_are_standardized_by_the_moments_of_all_batches():
    batches = [(50 + 9 * x, y) for x, y in regression()]
    made = model_of(treat(workload(batches=batches), "standardize-input", {}))
    x = np.asarray(made.layers[1](np.concatenate([x for x, _ in batches])))
    assert np.allclose(x.mean(0), 0, atol=1e-3)
    assert np.allclose(x.std(0), 1, atol=1e-3)


def test_noise_and_crops_are_there_only_while_it_trains():
    x = images()[0][0]
    for remedy, settings in (("input-noise", {"deviation": 0.1}), ("random-crops", {"padding": 2})):
        first = model_of(treat(workload(picture(), images()), remedy, settings)).layers[1]
        changed = np.asarray(first(x, training=True))
        assert changed.shape == x.shape
        assert not np.array_equal(changed, x)
        assert np.array_equal(first(x, training=False), x)


def test_crops_move_every_image_by_itself():
    first = model_of(treat(workload(picture(), images()), "random-crops", {"padding": 1})).layers[1]
    marked = np.zeros((200, 8, 8, 1), "f4")
    marked[:, 4, 4] = 1
    places = {tuple(np.argwhere(one[..., 0])[0].tolist()) for one in np.asarray(first(marked, training=True))}
    assert places == {(r, c) for r in (3, 4, 5) for c in (3, 4, 5)}


def test_a_scaled_target_keeps_the_value_of_the_loss_and_standardizes_its_gradient():
    batches = [(x, 1000 + 200 * y) for x, y in regression()]
    made = treat(workload(batches=batches), "scale-target", {"mean": 1000.0, "deviation": 200.0})
    model, (x, y) = model_of(made), batches[0]
    with tf.GradientTape(persistent=True) as tape:
        output = model(x)
        loss = made.loss(output, y)
        small = plain((output - 1000) / 200, (y - 1000) / 200)
    assert float(loss) == pytest.approx(float(plain(output, y)), rel=1e-4)
    kernel = model.trainable_variables[0]
    assert np.allclose(tape.gradient(loss, kernel), tape.gradient(small, kernel), rtol=1e-2, atol=1e-4)


def test_a_target_takes_the_shape_of_the_output():
    made = treat(workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain), "match-shapes", {})
    assert float(made.loss(tf.zeros((4, 1)), tf.constant([1.0, 2.0, 3.0, 4.0]))) == 7.5
    with pytest.raises(CannotApply, match=r"output and target of \(32, 1\) and \(32, 1\) are alike"):
        treat(workload(), "match-shapes", {})


def test_samples_that_are_not_finite_are_dropped():
    made = treat(workload(batches=poisoned()), "check-data", {})
    assert [len(x) for x, _ in made.batches] == [32, 32, 32, 31, *[32] * 6]
    with pytest.raises(CannotApply, match="every number of the batches is finite"):
        treat(workload(), "check-data", {})


def test_batches_are_shuffled_anew_in_each_pass_and_hold_the_same_samples():
    given = workload()
    made = treat(given, "shuffle-data", {})
    first, second = ([np.asarray(x) for x, _ in made.batches()] for _ in range(2))
    assert not np.array_equal(first[0], second[0])
    every = np.concatenate([x for x, _ in given.batches])
    assert np.array_equal(np.sort(np.concatenate(first), axis=0), np.sort(every, axis=0))
