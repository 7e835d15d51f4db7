"""Network: layers one after the other, and the chain rule through them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.reference.initial import Scheme, he
from gradscope.reference.layers import Array, Layer, Moded, Pass
from gradscope.reference.losses import Loss


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in the order in which they run. Weights are named "layer.weight"."""

    layers: tuple[Layer, ...]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight, in the order of the layers."""
        return {f"{at.name}.{k}": shape for at in self.layers for k, shape in at.shapes().items()}

    def initial(self, seed: int, gain: float = math.sqrt(2)) -> dict[str, Array]:
        """Weights to begin with, float32: kernels normal with deviation gain / sqrt(fan-in) (He et al. 2015), gamma
        one, the rest zero."""
        return self.drawn(seed, lambda random, shape: he(random, shape, gain))

    def drawn(self, seed: int, scheme: Scheme) -> dict[str, Array]:
        """Weights to begin with, float32: kernels by a scheme (gradscope.reference.initial), gamma one, the rest
        zero."""
        random = np.random.default_rng(seed)
        found = {}
        for name, shape in self.shapes().items():
            if name.endswith(".kernel"):
                found[name] = scheme(random, shape).astype("f4")
            else:
                found[name] = np.full(shape, 1.0 if name.endswith(".gamma") else 0.0, "f4")
        return found

    def states(self) -> dict[str, Array]:
        """What layers remember from pass to pass, at the beginning, as "layer.name"."""
        moded = [at for at in self.layers if isinstance(at, Moded)]
        return {f"{at.name}.{k}": state for at in moded for k, state in at.states().items()}

    def forward(
        self, weights: Mapping[str, Array], given: Array, at: Pass | None = None, seen: list[Array] | None = None
    ) -> tuple[Array, list[Any]]:
        """(output, what each layer kept). at: the mode and what is remembered; without it, training without memory and
        without chance. seen: gets the output of every layer."""
        kept = []
        for layer in self.layers:
            own = self.weights_of(layer, weights)
            if at is not None and isinstance(layer, Moded):
                given, one = layer.run(own, given, at)
            else:
                given, one = layer.forward(own, given)
            kept.append(one)
            if seen is not None:
                seen.append(given)
        return given, kept

    def gradients(
        self,
        weights: Mapping[str, Array],
        loss: Loss,
        given: Array,
        target: Array,
        at: Pass | None = None,
        seen: list[Array] | None = None,
    ) -> tuple[Any, dict[str, Array]]:
        """(value of the loss, gradient of every weight). at, seen: as in forward()."""
        output, kept = self.forward(weights, given, at, seen)
        value, slope = loss(output, target)
        found: dict[str, Array] = {}
        for layer, one in zip(reversed(self.layers), reversed(kept), strict=True):
            slope, own = layer.backward(self.weights_of(layer, weights), one, slope)
            found |= {f"{layer.name}.{k}": g for k, g in own.items()}
        return value, {name: found[name] for name in weights}

    def weights_of(self, layer: Layer, weights: Mapping[str, Array]) -> dict[str, Array]:
        """The weights of one layer by their short names."""
        return {k: weights[f"{layer.name}.{k}"] for k in layer.shapes()}
