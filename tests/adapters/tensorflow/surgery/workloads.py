"""Models, data and workloads that the remedies are tried on, and how they are trained here."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from gradscope.scope import Scope
from gradscope.settings import Settings
from gradscope.workload import Workload
from keras import layers

from gradscope_tensorflow.plugin import TensorFlowAdapter

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


PRECISE = (("precision", "float32"),)


def kinds(model: Any) -> list[str]:
    """The layers in order: their types, and their activations in brackets."""
    found = []
    for layer in model._flatten_layers(include_self=False):
        if type(layer).__name__ == "InputLayer" or hasattr(layer, "_functional"):
            continue
        name = getattr(getattr(layer, "activation", None), "__name__", "linear")
        found.append(type(layer).__name__ if name == "linear" else f"{type(layer).__name__}({name})")
    return found
