"""Initialization: remedies that draw the weights of a model anew. Keras takes their seeds from the stream of Python."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from gradscope.errors import CannotApply
from keras import initializers

from gradscope_tensorflow.anatomy import KERNELS, all_layers

SMALLEST = 1e-12
"""Deviation under which an output is a constant."""


def drawn(model: Any, make: Any, remedy: str) -> Any:
    """The kernels of dense and convolutional layers drawn anew, their biases zero. make: gives an initializer."""
    chosen = [k for k in all_layers(model) if isinstance(k, KERNELS) and k.built]
    if not chosen:
        raise CannotApply(f"{remedy}: the model has no Dense and no Conv")
    for layer in chosen:
        layer.kernel.assign(make()(layer.kernel.shape, layer.kernel.dtype))
        if layer.bias is not None:
            layer.bias.assign(np.zeros(layer.bias.shape))
    return model


def orthogonal(model: Any, gain: float, remedy: str) -> Any:
    """Recurrent kernels orthogonal, gate by gate; where there are none, those of dense and convolutional layers."""
    cells = [k for k in all_layers(model) if getattr(k, "recurrent_kernel", None) is not None]
    for cell in cells:
        rows, columns = cell.recurrent_kernel.shape
        gates = [np.asarray(initializers.Orthogonal(gain)((rows, rows))) for _ in range(columns // rows)]
        cell.recurrent_kernel.assign(np.concatenate(gates, 1))
    return model if cells else drawn(model, lambda: initializers.Orthogonal(gain), remedy)


def unit_variance(graph: Any, inputs: Any, remedy: str) -> Any:
    """Orthogonal weights, each layer scaled in the order they run until the batch leaves it with variance one
    (Mishkin & Matas 2016). With a bias of zero one scaling is exact. graph: a functional model."""
    drawn(graph, initializers.Orthogonal, remedy)
    for layer in graph.layers:
        if not isinstance(layer, KERNELS):
            continue
        given = keras.Model(graph.input, layer._inbound_nodes[-1].input_tensors[0])(inputs)
        function, layer.activation = layer.activation, keras.activations.linear
        deviation = float(np.std(np.asarray(layer(given), "f8")))
        layer.activation = function
        if deviation > SMALLEST:
            layer.kernel.assign(np.asarray(layer.kernel) / deviation)
    return graph
