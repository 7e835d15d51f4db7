"""Arrays: one step after another noted from plain arrays of any origin, and how they are refused.

What observe() is given is checked here, whole steps at a time: nothing is noted of a step that is refused.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradscope import statistics
from gradscope.errors import UsageError
from gradscope.history import MISSING, RUN, History, Subject


class Arrays:
    """The steps that one history holds, and the parameters after the last of them.

    take_logged: gives the loss that was logged for the step that comes, once; None when there is none.
    """

    def __init__(self, history: History, take_logged: Callable[[], float | None]):
        self.history = history
        self.take_logged = take_logged
        self._previous: dict[str, Any] = {}

    def note(
        self,
        step: int,
        gradients: Mapping[str, ArrayLike | None] | None,
        parameters: Mapping[str, ArrayLike] | None,
        loss: float | None,
        learning_rate: float | None,
    ) -> None:
        """Notes one step. Raises UsageError for steps that do not ascend and for what does not hold numbers."""
        history = self.history
        steps = history["step"].steps
        if len(steps) and step <= steps[-1]:
            raise UsageError(f"observe(step={step}): steps must ascend; the last one was {int(steps[-1])}")
        given = {k: None if v is None else numbers(k, v) for k, v in by_name("gradients", gradients).items()}
        weights = {k: numbers(k, v) for k, v in by_name("parameters", parameters).items()}
        for name in [*given, *weights]:
            self._add(name, given.get(name), weights.get(name))
        logged = self.take_logged()
        loss = logged if loss is None else loss
        bad = None if loss is None else float(not math.isfinite(loss))
        values = {
            "loss": loss,
            "loss_nonfinite": bad,
            "learning_rate": learning_rate,
            "carried_over": math.nan,
            "backward_passes": 1,
        }
        history["step"].record(step, {k: {RUN: v} for k, v in values.items() if v is not None})
        if given:
            norms = {k: MISSING if g is None else statistics.l2_norm(g) for k, g in given.items()}
            history["gradient"].record(step, {"gradient_norm": norms})
        self._record_parameters(step, given, weights)
        self._previous.update({k: v.copy() for k, v in weights.items()})

    def _add(self, name: str, gradient: Any, weight: Any) -> None:
        if self.history["gradient"].index(name) is not None:
            return
        array = weight if weight is not None else gradient
        shape = () if array is None else array.shape
        traits = {
            "optimized": True,
            "elsewhere": False,
            "trainable": True,
            "shape": shape,
            "fan_in": int(np.prod(shape[1:])),
            "size": int(np.prod(shape)),
            "matrix": len(shape) > 1,
            "training": True,
            "reachable": True,
            "module_type": "",
        }
        module = name.rpartition(".")[0]
        subject = Subject(name, module, str(getattr(array, "dtype", "")), None, traits)
        self.history["gradient"].add(subject)
        self.history["parameter"].add(subject)

    def _record_parameters(self, step: int, gradients: Any, weights: Any) -> None:
        columns: dict[str, dict[str, float]] = {}
        for name, g in gradients.items():
            if g is not None:
                columns.setdefault("gradient_zero_fraction", {})[name] = statistics.zero_fraction(g)
                columns.setdefault("gradient_abs_max", {})[name] = statistics.abs_max(g)
                columns.setdefault("gradient_underflow_fraction", {})[name] = statistics.underflow_fraction(g)
        for name, w in weights.items():
            columns.setdefault("nonfinite", {})[name] = statistics.nonfinite_count(w)
            before = self._previous.get(name)
            if before is not None and before.shape == w.shape:
                norm, moved = statistics.parameter_change(before, w)
                columns.setdefault("update_norm", {})[name] = norm
                columns.setdefault("moved_fraction", {})[name] = moved
                columns.setdefault("parameter_norm", {})[name] = statistics.l2_norm(before)
                columns.setdefault("parameter_deviation", {})[name] = statistics.deviation(before)
        if columns:
            self.history["parameter"].record(step, columns)


def numbers(name: str, value: ArrayLike) -> Any:
    """The value as an array. Raises UsageError when it does not hold numbers."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"observe(): {name!r} must be an array, got {type(value).__name__}: {error}") from error
    if not np.issubdtype(array.dtype, np.number):
        raise UsageError(f"observe(): {name!r} must hold numbers, got an array of {array.dtype}")
    return array


def number(what: str, value: Any) -> float:
    """The value as a float; anything that float() takes. Raises UsageError."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{what} must be one number, got {type(value).__name__} {value!r:.80}") from error


def whole(what: str, value: Any) -> int:
    """The value as an int. Raises UsageError for what is none."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise UsageError(f"{what} must be a whole number, got {type(value).__name__} {value!r:.80}") from error


def by_name(what: str, given: Any) -> Mapping[str, Any]:
    """The arrays by the names of their parameters; nothing for None. Raises UsageError for what is no such mapping."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(f"observe(): {what} must be a mapping from name to array, got {type(given).__name__}")
    strange = next((k for k in given if not isinstance(k, str)), None)
    if strange is not None:
        raise UsageError(f"observe(): the names of {what} must be texts, got {type(strange).__name__} {strange!r:.80}")
    return given
