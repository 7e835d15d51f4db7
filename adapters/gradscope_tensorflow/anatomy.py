"""Anatomy: which layers a functional model holds, what follows each of them, and what its output comes from."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from gradscope.errors import CannotApply
from gradscope.regimen import first_pair
from gradscope.workload import Workload
from keras import layers

from gradscope_tensorflow.trainer import copied

KERNELS = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
NORMALIZING = (layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization)
SHAPING = (layers.Flatten, layers.Reshape, layers.Permute)
"""Layers that leave the values as they are."""
OWN = {
    layers.ReLU: "relu",
    layers.LeakyReLU: "leaky_relu",
    layers.ELU: "elu",
    layers.PReLU: "prelu",
    layers.Softmax: "softmax",
}
"""Layers that are an activation -> what they are called."""


def activation_of(layer: Any) -> str:
    """The activation that a layer applies, or is; "" for none."""
    if type(layer) in OWN:
        return OWN[type(layer)]
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", "") if isinstance(layer, (*KERNELS, layers.Activation)) else ""
    return "" if name == "linear" else str(name)


def is_activation(layer: Any) -> bool:
    """Whether a layer is an activation and nothing else."""
    return type(layer) in OWN or isinstance(layer, layers.Activation)


def graph_of(model: Any) -> Any:
    """The model as a graph of layers with one input and one output; None for one whose call() is the user's own code,
    and for one that is not built yet."""
    graph: Any = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
    if not hasattr(graph, "_run_through_graph") or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return None
    return keras.Model(graph.input, graph.output)


def functional(model: Any, remedy: str) -> Any:
    """The built model as a graph of layers. Raises CannotApply where it is none."""
    graph = graph_of(model)
    if graph is None:
        raise CannotApply(
            f"{remedy}: the layers of a {type(model).__name__} are called by its own code, to be changed in the "
            "source; a Sequential or functional model of one input and one output can be rebuilt"
        )
    return graph


def following(layer: Any, graph: Any) -> list[Any]:
    """The layers of a graph that take what a layer gives."""
    inside = set(map(id, graph.layers))
    found = [n.operation for n in layer._outbound_nodes if id(n.operation) in inside]
    return list({id(f): f for f in found}.values())


def ending_layer(graph: Any) -> Any:
    """The layer that makes the values of the output: the last one, but for those that only shape it."""
    last = graph.outputs[0]._keras_history.operation
    while isinstance(last, SHAPING):
        last = last._inbound_nodes[0].input_tensors[0]._keras_history.operation
    return last


def hidden_kernels(graph: Any) -> list[Any]:
    """Dense and convolutional layers with an activation of their own or after them, but for that of the output."""
    end = ending_layer(graph)
    found = []
    for layer in graph.layers:
        if not isinstance(layer, KERNELS) or layer is end:
            continue
        after = following(layer, graph)
        if activation_of(layer) or any(is_activation(f) and f is not end for f in after):
            found.append(layer)
    return found


def rebuilt(graph: Any, call: Callable[..., Any]) -> Any:
    """The model of the same layers, with the same weights, each of them called by a function: call(layer, *inputs)."""
    return keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)


def builder(workload: Workload) -> Callable[[], Any]:
    """A function that gives a model of its own each time: the workload's own function, or a copy of its model."""
    given = workload.model
    if isinstance(given, keras.Layer):
        return lambda: copied(given)
    build: Callable[[], Any] = given
    return build


def all_layers(model: Any) -> list[Any]:
    """Every layer of a model that holds no others, however deep it stands."""
    return list(model._flatten_layers(include_self=False))


@contextlib.contextmanager
def streams_kept() -> Iterator[None]:
    """Leaves the random streams of Python and numpy, which Keras draws its seeds from, as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def floating_input(workload: Workload, remedy: str) -> Any:
    """The inputs of the first batch, as an array. Raises CannotApply where they are no floating-point numbers."""
    inputs = first_pair(workload, remedy)[0]
    if not isinstance(inputs, np.ndarray | tf.Tensor):
        raise CannotApply(f"{remedy}: the inputs are no array but a {type(inputs).__name__}")
    array = np.asarray(inputs)
    if not np.issubdtype(array.dtype, np.floating):
        raise CannotApply(f"{remedy}: the inputs are {array.dtype}: indices, not measurements")
    return array
