"""What is known about an optax transformation: who made it and with which numbers. Seen while it was made."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np

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
CLIPS = {"clip_by_global_norm": "max_norm"}
FREEZES = frozenset({"set_to_zero", "freeze", "selective_transform"})
COLLECTS = frozenset({"gradient_transformation"})
"""Makers of transformations that only collect gradients; what they call in turn takes the step."""


@dataclass(slots=True)
class Made:
    """One transformation: the function of optax that the user called, its arguments, and its parts."""

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
            if one.name in KINDS or "learning_rate" in one.arguments:
                return KINDS.get(one.name, one.name)
        return next((m.name for m in self.walk() if m.name.startswith("scale_by")), self.name)

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

    def rate(self, count: int, state: Any) -> float | None:
        """The learning rate of the step of that number; None when it is not known."""
        injected = _hyperparameters(state)
        if injected is not None and "learning_rate" in injected:
            return float(np.asarray(injected["learning_rate"]))
        for one in self.walk():
            rate = one.arguments.get("learning_rate", one.arguments.get("step_size_fn"))
            if rate is None and one.name == "scale" and isinstance(one.arguments.get("step_size"), int | float):
                rate = abs(one.arguments["step_size"])
            if callable(rate):
                rate = abs(float(np.asarray(rate(count))))
            if isinstance(rate, int | float) or getattr(rate, "shape", None) == ():
                return float(rate) if math.isfinite(float(rate)) else None
        return None


def _hyperparameters(state: Any) -> Mapping[str, Any] | None:
    found = getattr(state, "hyperparams", None)
    if found is not None or not isinstance(state, tuple):
        return found
    return next((h for s in state if (h := _hyperparameters(s)) is not None), None)


def made_by(frame: FrameType | None) -> Made:
    """What is being made in a frame of optax: the outermost call of optax around it counts."""
    found = None
    while frame is not None and ("/optax/" in frame.f_code.co_filename or "<string>" in frame.f_code.co_filename):
        found = frame if "/optax/" in frame.f_code.co_filename else found
        frame = frame.f_back
    if found is None:
        return Made("custom")
    values = inspect.getargvalues(found)
    arguments = {k: values.locals[k] for k in values.args if k in values.locals}
    several = values.locals.get(values.varargs, ()) if values.varargs else ()
    transforms = [*several, *arguments.values()]
    transforms += [t for a in arguments.values() if isinstance(a, Mapping) for t in a.values()]
    parts = tuple(m for t in transforms if (m := made_of(t)) is not None)
    return Made(found.f_code.co_name, arguments, parts)


def made_of(transformation: Any) -> Made | None:
    """What is known about a transformation; None for one that was not seen being made."""
    return getattr(getattr(transformation, "update", None), "gradscope_made", None)
