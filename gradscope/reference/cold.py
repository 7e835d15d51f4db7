"""Cold check: one pass of random inputs through a fresh model, forward and backward, and no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradscope.errors import CannotJudge, TargetError
from gradscope.gains import note_gains
from gradscope.reference.layers import Array
from gradscope.reference.losses import Loss, softmax_cross_entropy
from gradscope.reference.model import Model
from gradscope.reference.observation import Batch, Observation, Taken
from gradscope.workload import Cold

if TYPE_CHECKING:
    from gradscope.scope import Scope


def cold(scope: Scope, target: Cold) -> None:
    """Fills a history with one step at learning rate zero; facts["layers"] holds the gain of each layer.

    Raises CannotJudge for a model without weights, TargetError for what is no Model and for an input that does not fit.
    """
    model = target.build()
    if not isinstance(model, Model):
        raise TargetError(f"expected a Model of gradscope.reference, got {type(model).__name__}")
    if not model.weights:
        raise CannotJudge("the network has no weight to train")
    random = np.random.default_rng(target.seed)
    given = model.cast(random.normal(size=(target.batch, *target.input_shape)))
    seen: list[Array] = []
    with np.errstate(all="ignore"):
        try:
            output, kept = model.network.forward(model.weights, given, seen=seen)
        except (ValueError, IndexError, TypeError) as error:
            raise TargetError(
                f"the network does not take an input of shape {list(given.shape)} (batch {target.batch}): {error}"
            ) from error
        loss, wanted = objective(output, target, random)
        value, slope = loss(output, wanted)
        sizes: dict[str, float] = {}
        found: dict[str, Array] = {}
        for layer, one in zip(reversed(model.network.layers), reversed(kept), strict=True):
            if layer.shapes():
                sizes[layer.name] = float(np.sqrt(np.square(slope, dtype="f8").mean()))
            slope, own = layer.backward(model.network.weights_of(layer, model.weights), one, slope)
            found |= {f"{layer.name}.{k}": g for k, g in own.items()}
    history = scope.new_history("cold", framework="numpy")
    gradients = {k: found[k] for k in model.weights}
    batch = Batch(given, seen, wanted, float(value))
    Observation(history, model, loss).note(Taken(0, 0.0, [batch], gradients, model.weights, model.weights))
    note_gains(history, dict(reversed(sizes.items())))


def objective(output: Array, target: Cold, random: np.random.Generator) -> tuple[Loss, Array]:
    """Cross-entropy against random classes, or half the mean square where no number of classes is given."""
    if target.classes is None:
        return half_mean_square, np.zeros_like(output)
    if output.ndim != 2 or output.shape[1] != target.classes:
        raise TargetError(f"--classes {target.classes}: the output has shape {list(output.shape)}")
    return softmax_cross_entropy, random.integers(0, target.classes, len(output))


def half_mean_square(prediction: Array, _target: Array) -> tuple[float, Array]:
    """mean(p^2) / 2."""
    return float(np.square(prediction).mean() / 2), prediction / prediction.dtype.type(prediction.size)
