"""What is known about an optax transformation: who made it, with which numbers, and what follows for its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

KINDS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "lion": "Lion",
    "lamb": "LAMB",
    "lbfgs": "LBFGS",
}
"""optax' names and those of the other frameworks."""
SCALES = {f"scale_by_{key}": kind for key, kind in KINDS.items()} | {
    "scale_by_rms": "RMSprop",
    "scale_by_rss": "Adagrad",
    "scale_by_trust_ratio": "LAMB",
}
"""The part of an optimizer that tells its kind."""
RATES = frozenset({"scale_by_learning_rate", "scale_by_schedule"})
STEPS = RATES | {"scale"}
PLAIN = STEPS | {"trace", "identity", "add_decayed_weights", "clip", "clip_by_global_norm"}
"""What gradient descent is made of."""
DECAYS = "add_decayed_weights"
UNKNOWN = "optimizer"
"""What an optimizer is called of which nobody knows the name."""
BRANCHES = frozenset({"partition", "multi_transform"})
"""Transformations whose parts are for different parameters, and do not follow each other."""
CLIPS = {"clip_by_global_norm": "max_norm"}
FREEZES = frozenset({"set_to_zero", "freeze", "selective_transform"})
COLLECTS = frozenset({"gradient_transformation"})
"""Makers of transformations that only collect gradients; what they call in turn takes the step."""


@dataclass(slots=True)
class Made:
    """One transformation: the function of optax that made it, its arguments, and its parts in their order."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Made, ...] = ()

    def walk(self) -> list[Made]:
        """This one and its parts, to any depth."""
        return [self, *(m for p in self.parts for m in p.walk())]

    @property
    def kind(self) -> str:
        """What the optimizer is called."""
        for one in self.walk():
            if one.name in KINDS or ("learning_rate" in one.arguments and one.name not in RATES):
                return KINDS.get(one.name, one.name)
        names = [m.name for m in self.walk() if not m.parts]
        scales = [n for n in names if n.startswith("scale_by_") and n not in RATES]
        if not scales:
            if PLAIN.issuperset(names) and not STEPS.isdisjoint(names):
                return "SGD"
            return UNKNOWN if self.parts else self.name
        kind = SCALES.get(scales[-1], scales[-1])
        decoupled = DECAYS in names[names.index(scales[0]) :]
        return "AdamW" if kind == "Adam" and decoupled else kind

    @property
    def freezes(self) -> bool:
        """Whether some parameters are held still on purpose."""
        return any(m.name in FREEZES for m in self.walk())

    @property
    def collects(self) -> bool:
        """Whether it only collects gradients for another."""
        return self.name in COLLECTS

    def settings(self) -> dict[str, float]:
        """The numbers it was made with: lr, weight_decay, b1 ..."""
        found: dict[str, float] = {}
        for one in reversed(self.walk()):
            for key, value in one.arguments.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found["lr" if key == "learning_rate" else key] = float(value)
        return found

    def clip_limit(self) -> float | None:
        """The global norm that gradients are clipped to; None without that."""
        limits = [m.arguments.get(CLIPS[m.name]) for m in self.walk() if m.name in CLIPS]
        return next((float(x) for x in limits if isinstance(x, int | float)), None)

    def rates(self, steps: Sequence[int], state: Any = None) -> NDArray[Any]:
        """The learning rates of steps, by their numbers; NaN where they are not known. state: that of the only step."""
        injected = injected_rate(state)
        if injected is not None:
            return np.full(len(steps), float(injected))
        given = [m.arguments.get("learning_rate") for m in self.walk()]
        found = next((r for g in given if (r := rates_at(g, steps)) is not None), None)
        found = self._scale(steps) if found is None else found
        return np.full(len(steps), math.nan) if found is None else np.where(np.isfinite(found), found, math.nan)

    def _scale(self, steps: Sequence[int]) -> NDArray[Any] | None:
        """What updates are multiplied by, behind the last part that makes them as large as it will."""
        if not self.parts:
            known = self.arguments if self.name in STEPS else {}
            return rates_at(known.get("step_size_fn", known.get("step_size")), steps)
        found: NDArray[Any] | None = None
        for part in self.parts:
            scale = part._scale(steps)
            if found is not None and self.name in BRANCHES:
                break
            if any(m.name.startswith("scale_by_") and m.name not in RATES for m in part.walk()):
                found = scale
            elif scale is not None:
                found = scale if found is None else found * scale
        return found


def rates_at(given: Any, steps: Sequence[int]) -> NDArray[Any] | None:
    """A rate, or a schedule of rates, at some steps; None for anything else."""
    if callable(given):
        return np.abs(_scheduled(given, steps))
    if isinstance(given, jax.core.Tracer | bool):
        return None
    if isinstance(given, int | float) or getattr(given, "shape", None) == ():
        return np.full(len(steps), abs(float(given)))
    return None


def _scheduled(schedule: Any, steps: Sequence[int]) -> NDArray[Any]:
    """The values of a schedule: all at once where it allows that."""
    if len(steps) > 1:
        try:
            return np.asarray(jax.vmap(schedule)(jnp.asarray(steps)), "f8")
        except Exception:  # noqa: BLE001 - a schedule of the user's own may ask for its step in Python
            pass
    return np.array([float(np.asarray(schedule(step))) for step in steps])


def injected_rate(state: Any) -> Any | None:
    """The learning rate that a state holds (optax.inject_hyperparams), a number or an array; None without one."""
    held = getattr(state, "hyperparams", None)
    if held is not None:
        return held.get("learning_rate")
    parts = state if isinstance(state, tuple) else ()
    return next((rate for part in parts if (rate := injected_rate(part)) is not None), None)
