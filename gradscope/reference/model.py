"""Model: a network with its weights, what its layers remember, and its chance. It changes as it is trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np

from gradscope.reference.layers import Array, Pass
from gradscope.reference.network import Network


class Model:
    """What a workload of the reference trains.

    weights: by name, as Network.initial() gives them (which it does here for None). seed: of these, and of every
    chance later; drawn from numpy's global stream when None. state: moving averages by name. Everything is computed in
    the precision of the weights.
    """

    def __init__(self, network: Network, weights: Mapping[str, Array] | None = None, *, seed: int | None = None):
        chosen = int(np.random.randint(2**31 - 1)) if seed is None else seed
        self.network = network
        self.weights: dict[str, Array] = dict(network.initial(chosen) if weights is None else weights)
        self.state: dict[str, Array] = network.states()
        self.random = np.random.default_rng(chosen)

    def __call__(self, given: Array) -> Array:
        """The output in evaluation mode."""
        output, _ = self.network.forward(self.weights, self.cast(given), self.at(training=False))
        return output

    def at(self, *, training: bool) -> Pass:
        """A pass through the network in that mode, which shares what the layers remember."""
        return Pass(training, self.state, self.random)

    def cast(self, given: Array) -> Array:
        """An input in the precision of the weights."""
        kind = next((w.dtype for w in self.weights.values()), np.dtype("f4"))
        return np.asarray(given).astype(kind, copy=False)

    def copy(self, seed: int | None = None) -> Model:
        """The same, sharing nothing. seed: of a new chance."""
        made = copy.deepcopy(self)
        if seed is not None:
            made.random = np.random.default_rng(seed)
        return made

    def with_network(self, network: Network, weights: Mapping[str, Array]) -> Model:
        """Another network with these weights, which remembers what this one does of layers that both have."""
        made = Model(network, weights, seed=0)
        made.state |= {k: v.copy() for k, v in self.state.items() if k in made.state}
        made.random = copy.deepcopy(self.random)
        return made
