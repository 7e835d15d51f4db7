"""Workloads of TensorFlow: trained as their recipe says, made afresh, scored."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradscope import Scope, Settings, Workload
from gradscope.errors import CannotJudge, UsageError
from gradscope.recipe import Recipe, warm_up

from gradscope_tensorflow.session import Session
from gradscope_tensorflow.trainer import evaluate, fresh, train

RANDOM = np.random.default_rng(0)
LINE = RANDOM.normal(size=(8, 1))
BATCHES = [(x.astype("f4"), (x @ LINE).astype("f4")) for x in RANDOM.normal(size=(12, 16, 8))]


class Subclassed(keras.Model):
    """A model whose layers are attributes."""

    def __init__(self, units: int = 16):
        super().__init__()
        self.units = units
        self.hidden = keras.layers.Dense(units, activation="relu")
        self.out = keras.layers.Dense(1)

    def call(self, x: Any, training: bool = False) -> Any:
        """One output."""
        return self.out(self.hidden(x))


class Closed(keras.Model):
    """A model that does not tell its arguments."""

    def __init__(self, made: Any):
        super().__init__()
        self.made = made

    def call(self, x: Any, training: bool = False) -> Any:
        """One output."""
        return self.made(x)

    def get_config(self) -> Any:
        """Nothing."""
        raise NotImplementedError("not told")


def functional() -> Any:
    """Two paths that join."""
    x = keras.Input((8,))
    left, right = (keras.layers.Dense(8, activation=a)(x) for a in ("relu", "tanh"))
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.Add()([left, right])))


def model(*more: Any) -> Any:
    """A perceptron, the same each time."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(16), *more, keras.layers.ReLU(), keras.layers.Dense(1)]
    )


def workload(**changes: Any) -> Workload:
    """A regression that learns."""
    made: dict[str, Any] = {"model": model(), "loss": "mse", "batches": BATCHES}
    return Workload(**made | {"optimizer": lambda _weights: keras.optimizers.SGD(0.05)} | changes)


def observed(one: Workload, steps: int = 20) -> Scope:
    """The scope of a training under a session."""
    scope = Scope(Settings(steps=steps))
    with Session(scope):
        train(scope, one)
    assert not scope.failures
    return scope


# -- the recipe --------------------------------------------------------------------------------------------------------


def test_steps_are_counted_without_a_session_too() -> None:
    seen: list[int] = []

    def loss(output: Any, target: Any) -> Any:
        seen.append(1)
        return tf.reduce_mean(tf.square(output - target))

    train(Scope(Settings(steps=5)), workload(loss=loss, recipe=Recipe(accumulate=3)))
    assert len(seen) == 15


def test_a_schedule_sets_the_rate_of_each_step_and_the_optimizer_keeps_its_own() -> None:
    optimizer = keras.optimizers.SGD(0.4)
    scope = observed(workload(optimizer=optimizer, recipe=Recipe(schedule=warm_up(4))), 6)
    assert scope.histories[0].run("learning_rate") == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert float(optimizer.learning_rate) == pytest.approx(0.4)


def test_a_rate_with_a_schedule_of_its_own_is_refused() -> None:
    own = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))
    with pytest.raises(UsageError, match="follows a schedule of its own already"):
        train(Scope(Settings(steps=2)), workload(optimizer=own, recipe=Recipe(schedule=warm_up(3))))


def test_batches_of_one_step_are_one_step_with_their_mean_loss_and_gradient() -> None:
    scope = observed(workload(recipe=Recipe(accumulate=4)), 3)
    history = scope.histories[0]
    start = model()
    with tf.GradientTape() as tape:
        losses = [tf.reduce_mean(tf.square(start(x) - y)) for x, y in BATCHES[:4]]
        loss = tf.add_n(losses) / 4
    norms = [float(tf.norm(g)) for g in tape.gradient(loss, start.trainable_variables)]
    assert history["step"].steps.tolist() == [0, 1, 2]
    assert history.run("loss")[0] == pytest.approx(float(loss), rel=1e-5)
    assert history["gradient"].column("gradient_norm")[0] == pytest.approx(norms, rel=1e-4)
    assert [v.name for v in scope.report().verdicts] == []


def test_clipping_by_norm_is_seen_and_gone_afterwards() -> None:
    optimizer = keras.optimizers.SGD(0.05)
    history = observed(workload(optimizer=optimizer, recipe=Recipe(clip_norm=0.01)), 5).histories[0]
    assert history.run("clip_limit") == pytest.approx([0.01] * 5)
    assert (history.run("clip_before") > 0.01).all()
    assert optimizer.global_clipnorm is None


def test_an_optimizer_that_clips_itself_does_so_behind_the_recipe() -> None:
    def moved(**own: Any) -> float:
        one = workload(optimizer=keras.optimizers.SGD(1.0, **own), recipe=Recipe(clip_norm=0.01))
        before = one.model.get_weights()
        train(Scope(Settings(steps=1)), one)
        return float(np.sqrt(sum(np.square(a - b).sum() for a, b in zip(one.model.get_weights(), before, strict=True))))

    assert moved() == pytest.approx(0.01, rel=1e-3)
    assert moved(clipvalue=100.0) == pytest.approx(0.01, rel=1e-3)
    assert moved(global_clipnorm=0.005) == pytest.approx(0.005, rel=1e-3)


def test_the_regularizers_of_layers_are_part_of_the_loss() -> None:
    heavy = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(5.0))])
    before = np.abs(heavy.get_weights()[0]).sum()
    train(Scope(Settings(steps=20)), workload(model=heavy))
    assert np.abs(heavy.get_weights()[0]).sum() < 0.5 * before


def test_sparse_gradients_are_averaged_and_penalized() -> None:
    tokens = [(RANDOM.integers(0, 10, (16, 2)), np.ones((16, 1), "f4")) for _ in range(4)]
    net = keras.Sequential([keras.layers.Embedding(10, 4), keras.layers.Flatten(), keras.layers.Dense(1)])
    net(tokens[0][0])
    scope = observed(
        workload(model=net, batches=tokens, recipe=Recipe(accumulate=2, clip_value=0.1, l2=0.1, clip_adaptive=0.5)), 5
    )
    assert scope.histories[0].steps == 5


@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # Keras' own
def test_weights_without_a_gradient_are_left_alone() -> None:
    class Spare(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = keras.layers.Dense(1), keras.layers.Dense(1)
            self.spare.build((None, 3))

        def call(self, x: Any, training: bool = False) -> Any:
            return self.used(x)

    net = Spare()
    net(BATCHES[0][0])
    held = net.spare.get_weights()
    recipe = Recipe(accumulate=2, clip_norm=1.0, clip_value=1.0, clip_adaptive=0.1, l1=0.1, decay=0.5)
    train(Scope(Settings(steps=3)), workload(model=net, recipe=recipe))
    assert all((a == b).all() for a, b in zip(held, net.spare.get_weights(), strict=True))


# -- afresh ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [model, functional, Subclassed, lambda: model(keras.layers.BatchNormalization())])
def test_a_fresh_workload_has_a_model_of_its_own(make: Any) -> None:
    given = make()
    output = np.asarray(given(BATCHES[0][0]))
    before = given.get_weights()
    made = fresh(workload(model=given), 5)
    assert type(made.model) is type(given)
    assert np.asarray(made.model(BATCHES[0][0])) == pytest.approx(output, abs=1e-6)
    train(Scope(Settings(steps=3)), made)
    assert all((a == b).all() for a, b in zip(before, given.get_weights(), strict=True))
    assert any((a != b).any() for a, b in zip(before, made.model.get_weights(), strict=True))


def test_frozen_layers_stay_frozen_in_a_copy() -> None:
    for given in (model(), Subclassed()):
        given(BATCHES[0][0])
        given.layers[0].trainable = False
        made = fresh(workload(model=given), 0).model
        assert [layer.trainable for layer in made.layers] == [layer.trainable for layer in given.layers]
        assert len(made.trainable_variables) == len(given.trainable_variables)


def test_a_model_is_built_anew_from_its_seed() -> None:
    one = workload(model=lambda: keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)]))
    first, second, other = (fresh(one, seed).model.get_weights()[0] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_a_seed_decides_python_numpy_tensorflow_and_dropout() -> None:
    def drawn(seed: int) -> tuple[Any, ...]:
        made = fresh(workload(model=model(keras.layers.Dropout(0.5))), seed)
        output = np.asarray(made.model(BATCHES[0][0], training=True)).sum()
        return random.random(), float(np.random.random()), float(tf.random.uniform(())), float(output)

    first, second, other = drawn(3), drawn(3), drawn(4)
    assert first == second
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_an_optimizer_is_copied_without_its_memory() -> None:
    given = keras.optimizers.Adam(0.02)
    one = workload(optimizer=given)
    made = fresh(one, 0)
    train(Scope(Settings(steps=3)), made)
    assert int(given.iterations) == 0
    assert float(made.optimizer.learning_rate) == pytest.approx(0.02)
    train(Scope(Settings(steps=2)), fresh(one, 0))


def test_a_model_that_cannot_be_copied_is_refused_with_what_would_work() -> None:
    with pytest.raises(UsageError, match=r"a Closed cannot be copied .* give a function that builds it"):
        fresh(workload(model=Closed(model())), 0)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_a_score_is_the_mean_over_samples() -> None:
    uneven = [(np.ones((3, 8), "f4"), np.full((3, 1), 2.0, "f4")), (np.ones((1, 8), "f4"), np.zeros((1, 1), "f4"))]
    one = workload(held_out=uneven, metric=lambda o, t: (t > 0).mean())
    output = float(np.asarray(one.model(np.ones((1, 8), "f4")))[0, 0])
    found = evaluate(one)
    assert found.loss == pytest.approx((3 * (output - 2) ** 2 + output**2) / 4, rel=1e-5)
    assert found.metric == 0.75
    assert evaluate(workload()).metric is None


@pytest.mark.parametrize("metric", [tf.equal, lambda o, t: np.ones(4), lambda o, t: 1])
def test_a_metric_may_be_any_number_or_array(metric: Any) -> None:
    assert evaluate(workload(metric=metric)).metric in {0.0, 1.0}


def test_evaluation_uses_moving_averages_and_changes_nothing() -> None:
    one = workload(model=model(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)))
    before = one.model.get_weights()
    assert evaluate(one) == evaluate(one)
    assert all((a == b).all() for a, b in zip(before, one.model.get_weights(), strict=True))


def test_a_score_that_is_not_finite_is_nan() -> None:
    broken = [(np.full((2, 8), np.inf, "f4"), np.zeros((2, 1), "f4"))]
    assert np.isnan(evaluate(workload(held_out=broken)).loss)


def test_nothing_held_out_is_no_score() -> None:
    with pytest.raises(CannotJudge, match="held_out gave none"):
        evaluate(workload(held_out=[]))
