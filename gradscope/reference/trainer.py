"""The plainest of training loops, in numpy: steps() shows every step, train() tells a Scope of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradscope.reference.layers import Array
from gradscope.reference.losses import Loss
from gradscope.reference.network import Network
from gradscope.reference.optimizers import Optimizer, clip_norm

if TYPE_CHECKING:
    from gradscope.scope import Scope


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its loss, the gradients that the optimizer used, the weights before and after it, by name."""

    number: int
    loss: float
    gradients: Mapping[str, Array]
    before: Mapping[str, Array]
    after: Mapping[str, Array]


def steps(
    network: Network,
    weights: Mapping[str, Array],
    loss: Loss,
    optimizer: Optimizer,
    batches: Iterable[tuple[Array, Array]],
    *,
    limit: float | None = None,
    dtype: str = "f4",
) -> Iterator[Step]:
    """One step a batch. Everything is computed in `dtype`; nothing that is given is changed.

    limit: norm to which all gradients together are clipped.
    """
    held = {k: w.astype(dtype) for k, w in weights.items()}
    for number, (given, target) in enumerate(batches):
        before = held
        with np.errstate(all="ignore"):
            value, gradients = network.gradients(before, loss, given.astype(dtype), target)
            used = gradients if limit is None else clip_norm(gradients, limit)
            held = optimizer.step(before, used)
        yield Step(number, float(value), used, before, held)


def train(
    network: Network,
    weights: Mapping[str, Array],
    loss: Loss,
    optimizer: Optimizer,
    batches: Iterable[tuple[Array, Array]],
    scope: Scope,
    *,
    limit: float | None = None,
    dtype: str = "f4",
) -> dict[str, Array]:
    """The weights after one step a batch, each of which the scope was told of.

    A scope knows a step's update from the weights after the step before, so that of the first step is not known to it.
    """
    held = dict(weights)
    for one in steps(network, weights, loss, optimizer, batches, limit=limit, dtype=dtype):
        held = dict(one.after)
        scope.observe(
            step=one.number,
            gradients=one.gradients,
            parameters=held,
            loss=one.loss,
            learning_rate=optimizer.rate,
        )
    return held
