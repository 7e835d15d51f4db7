"""Remedies applied to workloads of Keras: each does what it says, changes nothing that was given, and trains."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from gradscope.errors import CannotApply  # noqa: E402
from gradscope.recipe import Recipe  # noqa: E402
from gradscope.scope import Scope  # noqa: E402
from gradscope.settings import Settings  # noqa: E402
from gradscope.workload import Workload  # noqa: E402
from keras import layers  # noqa: E402

from gradscope_tensorflow.plugin import TensorFlowAdapter  # noqa: E402
from gradscope_tensorflow.surgery import HERE, REMEDIES, treat  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the trainer is TensorFlow's")
ADAPTER = TensorFlowAdapter()


def regression(*, batches: int = 10, size: int = 32, seed: int = 0) -> list[Any]:
    """Batches of standard normal inputs and a linear map of them, shape (size, 1)."""
    numbers = np.random.default_rng(seed)
    line = numbers.normal(size=(8, 1)) / 8**0.5
    given = [numbers.normal(size=(size, 8)) for _ in range(batches)]
    return [(x.astype("f4"), (x @ line).astype("f4")) for x in given]


def classes(*, seed: int = 0) -> list[Any]:
    """Batches of standard normal inputs and whether a linear map of them is positive, shape (size, 1)."""
    return [(x, (y > 0).astype("f4")) for x, y in regression(seed=seed)]


def perceptron(*hidden: int, activation: Any = "relu", output: str | None = None, apart: bool = False) -> Any:
    """Dense layers with an activation each but the last; apart: as layers of their own."""
    keras.utils.set_random_seed(0)
    stack: list[Any] = [keras.Input((8,))]
    for width in hidden:
        stack += [layers.Dense(width), layers.Activation(activation)] if apart else [layers.Dense(width, activation)]
    return keras.Sequential([*stack, layers.Dense(1, output)])


def graph() -> Any:
    """A functional model with a branch."""
    keras.utils.set_random_seed(0)
    given = keras.Input((8,))
    x = layers.Dense(16, "relu")(given)
    y = layers.add([layers.Dense(16, "relu")(x), x])
    return keras.Model(given, layers.Dense(1)(y))


@keras.saving.register_keras_serializable("gradscope tests")
class Own(keras.Model):
    """Two dense layers that its own code calls."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.first, self.last = layers.Dense(16, "relu"), layers.Dense(1)

    def call(self, x):
        return self.last(self.first(x))


def sequence() -> Any:
    """A recurrent layer over five steps."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8,)), layers.RepeatVector(5), layers.GRU(6), layers.Dense(1)])


def picture() -> Any:
    """A convolution over images of 8 x 8."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(1)]
    )


def images() -> list[Any]:
    """Batches of images and the mean of their left half."""
    numbers = np.random.default_rng(3)
    given = [numbers.normal(size=(16, 8, 8, 1)).astype("f4") for _ in range(5)]
    return [(x, x[:, :, :4].mean((1, 2, 3))[:, None]) for x in given]


def sgd(rate: float = 0.05, **more: Any) -> Callable[[Any], Any]:
    """A maker of gradient descent."""
    return lambda _weights: keras.optimizers.SGD(rate, **more)


def plain(output: Any, target: Any) -> Any:
    """A squared error by hand, which broadcasts without a word."""
    return tf.reduce_mean(tf.square(output - tf.cast(target, output.dtype)))


def workload(model: Any = None, batches: Any = None, loss: Any = "mean_squared_error", **more: Any) -> Workload:
    """A regression by a perceptron, but for what is given."""
    chosen = perceptron(16, 16) if model is None else model
    return Workload(chosen, loss, regression() if batches is None else batches, **({"optimizer": sgd()} | more))


def run(given: Workload, steps: int = 40, seed: int = 0) -> tuple[float, Any]:
    """(loss afterwards, model) of a training that starts from a seed."""
    ready = ADAPTER.fresh(given, seed)
    ADAPTER.train(Scope(Settings(steps=steps)), ready)
    return ADAPTER.evaluate(ready).loss, ready.model


def model_of(given: Workload, seed: int = 0) -> Any:
    """The fresh model of a workload."""
    return ADAPTER.fresh(given, seed).model


def poisoned() -> list[Any]:
    """A regression one of whose samples is NaN."""
    batches = regression()
    batches[3][0][5, 2] = np.nan
    return batches


def mixed() -> Any:
    """A network that computes in bfloat16."""
    keras.utils.set_random_seed(0)
    half = {"dtype": "mixed_bfloat16"}
    return keras.Sequential([keras.Input((8,)), layers.Dense(16, "relu", **half), layers.Dense(1, **half)])


def penalized() -> Any:
    """A network whose penalties outweigh everything."""
    keras.utils.set_random_seed(0)
    l2 = keras.regularizers.L2(10.0)
    return keras.Sequential([keras.Input((8,)), layers.Dense(16, "relu", kernel_regularizer=l2), layers.Dense(1)])


@dataclass(frozen=True)
class Case:
    """A remedy, and a workload that it fits."""

    remedy: str
    make: Callable[[], Workload]
    settings: tuple[tuple[str, Any], ...] = ()

    def treated(self) -> Workload:
        """The workload with the remedy."""
        return treat(self.make(), self.remedy, dict(self.settings))


PRECISE = (("precision", "float32"),)
CASES = [
    Case("batch-normalization", workload),
    Case("layer-normalization", workload),
    Case("rms-normalization", workload),
    Case("he-initialization", workload),
    Case("glorot-initialization", workload),
    Case("orthogonal-initialization", workload, (("gain", 1.0),)),
    Case("lsuv-initialization", workload),
    Case("replace-activation", lambda: workload(perceptron(16, activation="sigmoid")), (("activation", "relu"),)),
    Case("residual-connection", workload),
    Case("dropout", workload, (("probability", 0.1),)),
    Case(
        "correct-output",
        lambda: workload(perceptron(16, output="softmax"), classes(), "binary_crossentropy"),
        (("output", "sigmoid"),),
    ),
    Case("open-output", lambda: workload(perceptron(16, output="sigmoid")), (("output", "linear"),)),
    Case("standardize-input", lambda: workload(batches=[(50 + 9 * x, y) for x, y in regression()])),
    Case("input-noise", workload, (("deviation", 0.1),)),
    Case("random-crops", lambda: workload(picture(), images()), (("padding", 1),)),
    Case("full-precision-weights", lambda: workload(mixed(), loss=plain), PRECISE),
    Case("full-precision-loss", lambda: workload(mixed(), loss=plain), PRECISE),
    Case("replace-optimizer", workload, (("optimizer", "Adam"), ("rate", 1e-3))),
    Case(
        "scale-target",
        lambda: workload(batches=[(x, 1000 + 200 * y) for x, y in regression()]),
        (("mean", 1000.0), ("deviation", 200.0)),
    ),
    Case("match-shapes", lambda: workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain)),
    Case("reduce-on-plateau", workload, (("factor", 0.5), ("patience", 3))),
    Case("weaken-penalty", lambda: workload(penalized()), (("factor", 1e-5),)),
    Case("stop-before-poison", workload),
    Case("shuffle-data", workload),
    Case("check-data", lambda: workload(batches=poisoned())),
    Case("clip-gradient-norm", workload, (("max_norm", 0.5),)),
    Case("clip-gradient-value", workload, (("max_value", 0.5),)),
    Case("adaptive-clipping", workload, (("limit", 0.01),)),
    Case("loosen-clipping", lambda: workload(recipe=Recipe(clip_norm=1e-6)), (("max_norm", 1.0),)),
    Case("weight-decay", workload, (("decay", 0.01),)),
    Case("l2-penalty", workload, (("l2", 2e-4),)),
    Case("l1-penalty", workload, (("l1", 1e-5),)),
    Case("lower-learning-rate", workload, (("factor", 0.1),)),
    Case("raise-learning-rate", workload, (("factor", 2.0),)),
    Case("warm-up", workload, (("steps", 10),)),
    Case("cosine-schedule", workload, (("steps", 60),)),
    Case("larger-batch", workload, (("accumulate", 2), ("batch_size", 64))),
    Case("accumulate-gradients", workload, (("accumulate", 2),)),
    Case("growing-batch", workload, (("accumulate", 4), ("every", 10))),
    Case("full-batch", workload),
]


def test_every_remedy_that_is_known_has_a_case():
    assert {c.remedy for c in CASES} == set(REMEDIES)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_a_treated_workload_trains_and_what_was_given_stays_bit_for_bit(case):
    given = case.make()
    kept, config = given.model.get_weights(), given.model.get_config()
    batches = [(x.copy(), y.copy()) for x, y in given.batches]
    treated = treat(given, case.remedy, dict(case.settings))
    before = model_of(treated).get_weights()
    loss, model = run(treated, steps=5)
    assert np.isfinite(loss)
    assert not all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(given.model.get_weights(), kept, strict=True))
    assert given.model.get_config() == config
    for pair, other in zip(given.batches, batches, strict=True):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(pair, other, strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_the_random_streams_are_left_where_they_were(case):
    given = case.make()
    keras.utils.set_random_seed(5)
    kept, numbers = random.getstate(), np.random.get_state()[1].tolist()
    treat(given, case.remedy, dict(case.settings))
    assert random.getstate() == kept
    assert np.random.get_state()[1].tolist() == numbers


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.remedy in {"he-initialization", "dropout", "shuffle-data"}], ids=lambda c: c.remedy
)
def test_the_same_seed_gives_the_same_training(case):
    assert run(case.treated(), steps=3)[0] == run(case.treated(), steps=3)[0]


def test_a_model_that_a_function_builds_is_built_anew_for_each_seed():
    def build():
        return keras.Sequential([keras.Input((8,)), layers.Dense(4, "relu"), layers.Dense(1)])

    given = treat(workload(build), "batch-normalization", {})
    first, other, again = (model_of(given, seed).get_weights()[0] for seed in (0, 1, 1))
    assert not np.array_equal(first, other)
    assert np.array_equal(other, again)


# -- what each does ----------------------------------------------------------------------------------------------------


def kinds(model: Any) -> list[str]:
    """The layers in order: their types, and their activations in brackets."""
    found = []
    for layer in model._flatten_layers(include_self=False):
        if type(layer).__name__ == "InputLayer" or hasattr(layer, "_functional"):
            continue
        name = getattr(getattr(layer, "activation", None), "__name__", "linear")
        found.append(type(layer).__name__ if name == "linear" else f"{type(layer).__name__}({name})")
    return found


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("remedy", "kind"),
    [
        ("batch-normalization", "BatchNormalization"),
        ("layer-normalization", "LayerNormalization"),
        ("rms-normalization", "RMSNormalization"),
    ],
)
def test_a_normalization_stands_before_each_hidden_activation(remedy, kind, apart):
    given = workload(perceptron(16, 16, apart=apart))
    made = model_of(treat(given, remedy, {}))
    assert kinds(made) == ["Dense", kind, "Activation(relu)"] * 2 + ["Dense"]
    assert np.array_equal(made.layers[1].get_weights()[0], given.model.get_weights()[0])


def test_branches_of_a_functional_model_stay():
    given = workload(graph())
    made = model_of(treat(given, "batch-normalization", {}))
    assert kinds(made).count("BatchNormalization") == 2
    assert kinds(made).count("Add") == 1


@pytest.mark.parametrize(
    ("remedy", "kind"), [("batch-normalization", "BatchNormalization"), ("layer-normalization", "GroupNormalization")]
)
def test_a_normalization_of_images_is_one_over_channels(remedy, kind):
    made = model_of(treat(workload(picture(), images()), remedy, {}))
    assert kinds(made)[:3] == ["Conv2D", kind, "Activation(relu)"]


def test_a_network_that_is_normalized_is_not_normalized_again():
    normalized = model_of(treat(workload(), "batch-normalization", {}))
    with pytest.raises(CannotApply, match=r"^layer-normalization: no layer \(Dense, Conv\) without a normalization"):
        treat(workload(normalized), "layer-normalization", {})


def deviation_over_scale(remedy: str, scale: Callable[[Any], float]) -> list[float]:
    """Deviation of the kernels of a wide network, over what the remedy says it should be."""
    made = model_of(treat(workload(perceptron(400, 300)), remedy, {}))
    assert not any(layer.get_weights()[1].any() for layer in made.layers)
    return [layer.get_weights()[0].std() / scale(layer.kernel.shape) for layer in made.layers[:-1]]


def test_he_draws_by_the_fan_in():
    assert deviation_over_scale("he-initialization", lambda s: (2 / s[0]) ** 0.5) == pytest.approx([1, 1], rel=0.05)


def test_glorot_draws_by_both_fans():
    ratios = deviation_over_scale("glorot-initialization", lambda s: (2 / sum(s)) ** 0.5)
    assert ratios == pytest.approx([1, 1], rel=0.05)


def test_layers_of_a_users_own_class_are_drawn_too():
    given = workload(Own)
    assert not model_of(treat(given, "he-initialization", {})).first.get_weights()[1].any()
    assert np.isfinite(run(treat(given, "he-initialization", {}), 5)[0])


def test_recurrent_kernels_become_orthogonal_gate_by_gate_and_others_stay():
    given = workload(sequence())
    made = model_of(treat(given, "orthogonal-initialization", {"gain": 2.0}))
    kernel, recurrent = made.layers[1].get_weights()[:2]
    for gate in np.split(recurrent, 3, axis=1):
        assert np.allclose(gate @ gate.T, 4 * np.eye(6), atol=1e-4)
    assert np.array_equal(kernel, given.model.layers[1].get_weights()[0])


def test_layer_by_layer_every_layer_gives_variance_one():
    given = workload(perceptron(64, 64, activation="tanh"))
    made = model_of(treat(given, "lsuv-initialization", {}))
    x = given.batches[0][0]
    for layer in made.layers:
        if isinstance(layer, layers.Dense):
            before = x @ np.asarray(layer.kernel)
            assert before.std() == pytest.approx(1, rel=1e-4)
            x = np.tanh(before)


@pytest.mark.parametrize("apart", [False, True])
def test_hidden_activations_are_replaced_and_that_of_the_output_stays(apart):
    given = workload(perceptron(16, 16, activation="sigmoid", output="sigmoid", apart=apart))
    made = model_of(treat(given, "replace-activation", {"activation": "leaky_relu"}))
    assert kinds(made) == ["Dense", "LeakyReLU", "Dense", "LeakyReLU", "Dense(sigmoid)"]


@pytest.mark.parametrize("apart", [False, True])
def test_a_path_leads_around_layers_that_keep_the_width(apart):
    given = workload(perceptron(16, 16, apart=apart))
    made = model_of(treat(given, "residual-connection", {}))
    x = given.batches[0][0]
    weights = given.model.get_weights()
    first = np.maximum(x @ weights[0] + weights[1], 0)
    second = first + np.maximum(first @ weights[2] + weights[3], 0)
    assert np.allclose(made(x), second @ weights[4] + weights[5], atol=1e-5)


@pytest.mark.parametrize(
    ("ending", "output", "expected"),
    [
        ("softmax", "linear", ["Dense", "Activation"]),
        ("softmax", "sigmoid", ["Dense", "Activation(sigmoid)"]),
        (None, "sigmoid", ["Dense", "Activation(sigmoid)"]),
        (None, "log_softmax", ["Dense", "Activation(log_softmax)"]),
    ],
)
def test_the_output_ends_as_the_loss_wants_it(ending, output, expected):
    given = workload(perceptron(16, output=ending))
    made = model_of(treat(given, "correct-output", {"output": output}))
    assert kinds(made) == ["Dense(relu)", *expected]


def test_an_activation_before_a_reshape_is_the_last_one():
    stack = keras.Sequential([keras.Input((8,)), layers.Dense(1), layers.Softmax(), layers.Reshape((1, 1))])
    made = model_of(treat(workload(stack, loss=plain), "correct-output", {"output": "sigmoid"}))
    assert kinds(made) == ["Dense", "Activation(sigmoid)", "Reshape"]


def test_the_loss_is_corrected_where_it_is_the_wrong_one():
    batches = [(x, y[:, 0].astype("i4")) for x, y in classes()]
    given = workload(perceptron(16), batches, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    settings = {"output": "linear", "loss": "binary_cross_entropy_with_logits"}
    made = treat(given, "correct-output", settings)
    assert run(made, 100)[0] < 0.5
    assert float(made.loss(tf.zeros((4, 1)), tf.constant([0, 1, 1, 0]))) == pytest.approx(np.log(2))


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


def test_layers_come_to_float32_with_their_weights():
    given = workload(mixed(), loss=plain)
    made = model_of(treat(given, "full-precision-weights", dict(PRECISE)))
    assert {layer.compute_dtype for layer in made.layers} == {"float32"}
    assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), given.model.get_weights(), strict=True))
    with pytest.raises(CannotApply, match="every layer computes in float32 already"):
        treat(workload(), "full-precision-weights", dict(PRECISE))


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


@pytest.mark.parametrize("build", [graph, lambda: perceptron(16, 16)])
def test_remedies_follow_one_another(build):
    given = workload(build(), [(50 + 9 * x, 1000 + 200 * y) for x, y in regression()])
    made = treat(given, "standardize-input", {})
    made = treat(made, "scale-target", {"mean": 1000.0, "deviation": 200.0})
    made = treat(made, "batch-normalization", {})
    made = treat(made, "dropout", {"probability": 0.1})
    found = kinds(model_of(made))
    assert (found[0], found[-1], found.count("BatchNormalization"), found.count("Dropout")) == (
        "Normalization",
        "Rescaling",
        2,
        2,
    )
    assert run(made, 100)[0] < 0.3 * 200**2


def test_a_model_of_own_code_takes_layers_before_and_behind_it():
    given = workload(Own, [(50 + 9 * x, 1000 + 200 * y) for x, y in regression()])
    made = treat(treat(given, "standardize-input", {}), "scale-target", {"mean": 1000.0, "deviation": 200.0})
    assert run(made, 100)[0] < 0.3 * 200**2


def test_a_sequential_without_an_input_is_built_by_the_first_batch():
    given = workload(lambda: keras.Sequential([layers.Dense(16, "relu"), layers.Dense(1)]))
    assert kinds(model_of(treat(given, "batch-normalization", {})))[1] == "BatchNormalization"
    assert np.isfinite(run(treat(given, "scale-target", {"mean": 0.0, "deviation": 2.0}), 3)[0])


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remedy", "make", "settings", "text"),
    [
        ("batch-normalization", lambda: workload(Own), {}, "the layers of a Own are called by its own code"),
        ("batch-normalization", lambda: workload(batches=regression(size=1)), {}, "hold one sample each"),
        ("replace-activation", workload, {"activation": "relu"}, "no hidden activation is other than relu"),
        ("replace-activation", workload, {"activation": "cube"}, "no activation is called 'cube'; there are elu,"),
        ("open-output", workload, {"output": "linear"}, "the model ends in no activation that could be dropped"),
        ("residual-connection", lambda: workload(perceptron(16, 4)), {}, "no hidden layer keeps the width"),
        ("random-crops", workload, {"padding": 4}, "inputs of shape (32, 8) are no images [N, H, W, C]"),
        ("loss-scaling", workload, {"scale": 1024.0}, "keras.optimizers.LossScaleOptimizer"),
        ("register-parameter", workload, {}, "Keras registers layers itself"),
        ("smooth-operation", workload, {}, "the operation without a slope stands in the program's own code"),
        ("leech", workload, {}, "not known to the trainer of tensorflow; it knows accumulate-gradients, "),
        (
            "batch-normalization",
            lambda: workload(batches=[(x[:, :5], y) for x, y in regression()]),
            {},
            "the model does not run with it: ValueError",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(remedy, make, settings, text):
    with pytest.raises(CannotApply) as caught:
        treat(make(), remedy, settings)
    assert str(caught.value).startswith(f"{remedy}: ")
    assert text in str(caught.value)


def test_nothing_is_both_known_and_refused():
    assert not set(HERE) & set(REMEDIES)


# -- known cures -------------------------------------------------------------------------------------------------------


def too_large_kernels() -> Any:
    """Four layers whose weights are four times too large."""
    made = perceptron(32, 32, 32)
    made.set_weights([4 * w for w in made.get_weights()])
    return made


def deep_sigmoid() -> Workload:
    """Eight sigmoid layers: nothing is learnt."""
    return workload(perceptron(*[16] * 8, activation="sigmoid"), optimizer=lambda _weights: keras.optimizers.Adam(0.01))


CURES = [
    ("batch-normalization", {}, deep_sigmoid),
    ("he-initialization", {}, lambda: workload(too_large_kernels(), optimizer=sgd(1e-2))),
    ("lsuv-initialization", {}, lambda: workload(too_large_kernels(), optimizer=sgd(1e-2))),
    ("clip-gradient-norm", {"max_norm": 0.1}, lambda: workload(too_large_kernels(), optimizer=sgd(0.1))),
    ("lower-learning-rate", {"factor": 0.01}, lambda: workload(optimizer=sgd(5.0))),
    ("raise-learning-rate", {"factor": 1e4}, lambda: workload(optimizer=sgd(1e-5))),
    ("standardize-input", {}, lambda: workload(batches=[(500 + 90 * x, y) for x, y in regression()])),
    (
        "scale-target",
        {"mean": 1e4, "deviation": 2e3},
        lambda: workload(batches=[(x, 1e4 + 2e3 * y) for x, y in regression()]),
    ),
    ("weaken-penalty", {"factor": 1e-6}, lambda: workload(penalized(), optimizer=sgd(0.02))),
    ("check-data", {}, lambda: workload(batches=poisoned())),
    ("open-output", {"output": "linear"}, lambda: workload(perceptron(16, output="sigmoid"))),
    ("match-shapes", {}, lambda: workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain)),
]


@pytest.mark.parametrize(("remedy", "settings", "make"), CURES, ids=[c[0] for c in CURES])
def test_a_known_cure_cures(remedy, settings, make):
    sick, cured = (run(w, 100)[0] for w in (make(), treat(make(), remedy, settings)))
    assert np.isfinite(cured)
    assert not sick <= 1.5 * cured, (sick, cured)


@pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis:UserWarning")
def test_a_softmax_over_one_unit_is_cured_which_the_predictions_show():
    """The loss does not: Keras computes it from the scores that the softmax was given."""

    def accuracy(output: Any, target: Any) -> Any:
        return tf.cast((output > 0.5) == (target > 0.5), "float32")

    given = workload(perceptron(16, output="softmax"), classes(), "binary_crossentropy", metric=accuracy)
    sick, cured = (ADAPTER.fresh(w, 0) for w in (given, treat(given, "correct-output", {"output": "sigmoid"})))
    for ready in (sick, cured):
        ADAPTER.train(Scope(Settings(steps=100)), ready)
    assert ADAPTER.evaluate(sick).metric < 0.6
    assert ADAPTER.evaluate(cured).metric > 0.85
