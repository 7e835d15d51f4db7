"""Rebuilding: remedies that put layers into a functional model, or others in their place. Each is given a graph of its
own, whose layers it may change, and gives the model that takes its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from gradscope.errors import CannotApply
from keras import layers

from gradscope_tensorflow.anatomy import (
    KERNELS,
    NORMALIZING,
    activation_of,
    ending_layer,
    following,
    graph_of,
    hidden_kernels,
    is_activation,
    rebuilt,
)

NAMES = ("elu", "gelu", "leaky_relu", "linear", "log_softmax", "relu", "selu", "sigmoid", "silu", "softmax", "tanh")
"""Activations, as they are called in settings."""
Make = Callable[[Any], Any]


def activation(remedy: str, name: Any) -> Any:
    """A layer of that name. Raises CannotApply for one that is not known."""
    if name not in NAMES:
        raise CannotApply(f"{remedy}: no activation is called {name!r}; there are {', '.join(NAMES)}")
    return layers.LeakyReLU(negative_slope=0.1) if name == "leaky_relu" else layers.Activation(name)


def apart(layer: Any) -> Any:
    """The activation that a layer applies itself, as a layer; it applies none from then on. None where it has none."""
    if is_activation(layer) or not activation_of(layer):
        return None
    function, layer.activation = layer.activation, keras.activations.linear
    return layers.Activation(function)


def normalized(graph: Any, remedy: str, make: Make) -> Any:
    """A normalization between each hidden layer and its activation. make: from a layer; None where it does not fit."""
    chosen = {id(k) for k in hidden_kernels(graph) if not any(isinstance(f, NORMALIZING) for f in following(k, graph))}
    made = {id(k): make(k) for k in graph.layers if id(k) in chosen}
    made = {k: norm for k, norm in made.items() if norm is not None}
    if not made:
        raise CannotApply(f"{remedy}: no layer (Dense, Conv) without a normalization is followed by an activation")

    def call(layer: Any, *given: Any, **more: Any) -> Any:
        if id(layer) not in made:
            return layer(*given, **more)
        after = apart(layer)
        output = made[id(layer)](layer(*given, **more))
        return output if after is None else after(output)

    return rebuilt(graph, call)


def batch_normalization(layer: Any) -> Any:
    """Over the batch, per channel; the running statistics of a short run must be its own, so they follow faster."""
    return layers.BatchNormalization(axis=channel_axis(layer), momentum=0.9)


def layer_normalization(layer: Any) -> Any:
    """Over the features of a sample; over all channels and places of an image."""
    return layers.LayerNormalization() if isinstance(layer, layers.Dense) else grouped(layer)


def grouped(layer: Any) -> Any:
    """One group of all channels."""
    return layers.GroupNormalization(groups=1, axis=channel_axis(layer))


def rms_normalization(layer: Any) -> Any:
    """By the root mean square of the features of a sample."""
    return layers.RMSNormalization() if isinstance(layer, layers.Dense) else None


def channel_axis(layer: Any) -> int:
    """The axis of the channels of what a layer gives."""
    return 1 if getattr(layer, "data_format", "") == "channels_first" else -1


def hidden_activations(graph: Any) -> list[Any]:
    """The layers that apply an activation, or are one, but for that of the output."""
    end = ending_layer(graph)
    return [k for k in graph.layers if activation_of(k) and k is not end]


def reactivated(graph: Any, remedy: str, name: str) -> Any:
    """Another activation in the place of each hidden one; that of the output stays."""
    activation(remedy, name)
    chosen = {id(k) for k in hidden_activations(graph) if activation_of(k) != name}
    if not chosen:
        raise CannotApply(f"{remedy}: no hidden activation is other than {name}")

    def call(layer: Any, *given: Any, **more: Any) -> Any:
        if id(layer) not in chosen:
            return layer(*given, **more)
        if is_activation(layer):
            return activation(remedy, name)(*given)
        apart(layer)
        return activation(remedy, name)(layer(*given, **more))

    return rebuilt(graph, call)


def shortened(graph: Any, remedy: str) -> Any:
    """A path around each hidden layer that keeps the shape, and its activation."""
    keeping = {id(k) for k in hidden_kernels(graph) if k.input.shape == k.output.shape}
    if not keeping:
        raise CannotApply(f"{remedy}: no hidden layer keeps the width")
    before: dict[int, Any] = {}

    def call(layer: Any, *given: Any, **more: Any) -> Any:
        output = layer(*given, **more)
        if id(layer) in keeping and activation_of(layer):
            return layers.add([given[0], output])
        if id(layer) in keeping:
            before[id(output)] = (given[0], output)
        if is_activation(layer) and id(given[0]) in before:
            return layers.add([before[id(given[0])][0], output])
        return output

    return rebuilt(graph, call)


def thinned(graph: Any, remedy: str, probability: float) -> Any:
    """Dropout after each hidden activation."""
    chosen = {id(k) for k in hidden_activations(graph)}
    if not chosen:
        raise CannotApply(f"{remedy}: the model has no hidden activation")

    def call(layer: Any, *given: Any, **more: Any) -> Any:
        output = layer(*given, **more)
        return layers.Dropout(probability)(output) if id(layer) in chosen else output

    return rebuilt(graph, call)


def ended(graph: Any, remedy: str, name: str) -> Any:
    """A model that ends in another activation, or in none ("linear")."""
    made, end = activation(remedy, name), ending_layer(graph)
    present = activation_of(end)
    if present == name:
        raise CannotApply(f"{remedy}: the model ends in {name} already")
    if not present and name == "linear":
        raise CannotApply(f"{remedy}: the model ends in no activation that could be dropped")
    if not present and not isinstance(end, KERNELS):
        return appended(graph, made)

    def call(layer: Any, *given: Any, **more: Any) -> Any:
        if layer is not end:
            return layer(*given, **more)
        if is_activation(layer):
            return made(*given)
        apart(layer)
        return made(layer(*given, **more))

    return rebuilt(graph, call)


def prefixed(model: Any, layer: Any) -> Any:
    """A model with a layer before it, in one graph where the model is one."""
    graph = graph_of(model)
    if graph is None:
        return keras.Sequential([layer, model])
    made: list[Any] = []

    def through(given: Any) -> Any:
        history = getattr(given, "_keras_history", None)
        if history is None or not isinstance(history.operation, layers.InputLayer):
            return given
        made[:] = made or [layer(given)]
        return made[0]

    def call(inner: Any, *given: Any, **more: Any) -> Any:
        return inner(*keras.tree.map_structure(through, given), **more)

    return rebuilt(graph, call)


def appended(model: Any, layer: Any) -> Any:
    """A model with a layer behind it, in one graph where the model is one."""
    graph = graph_of(model)
    return keras.Sequential([model, layer]) if graph is None else keras.Model(graph.input, layer(graph.output))
