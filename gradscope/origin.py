"""Origin: where a value that is not finite was born."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradscope.history import History

PHASES = {
    "input": "in the data",
    "parameter": "in the weights, before the step",
    "forward": "in the forward pass",
    "loss": "in the loss",
    "backward": "in the backward pass",
}
"""Where in a step, and how it is said."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One array that an operation took or made. role: "input", "output", or the name of the argument that it was."""

    role: str
    shape: tuple[int, ...]
    dtype: str
    finite: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"role": self.role, "shape": list(self.shape), "dtype": self.dtype, "finite": self.finite}


@dataclass(frozen=True, slots=True)
class Origin:
    """The first operation of a step that made something not finite of finite inputs.

    phase: one of PHASES. step: of the optimizer, that which was not finite. op: the
    operation, in the plain words of its framework ("sqrt"); in the backward pass, the one whose gradient it was.
    module: dotted name, module_class: of which class. source: "file:line" of the user. inputs_finite: whether the
    operation got finite values only. shapes: what it took and made. samples: which of the batch, features: which along
    the last axis. micro_batch: which backward pass of the step, from 0, where there were several. parameter: whose
    gradient it ruined first, or which was broken. spread: modules that passed it on, in their order. culprit: the
    argument that was not finite already. reason: why, in words. count: values that are not finite.
    """

    phase: str
    step: int
    op: str = ""
    module: str = ""
    source: str | None = None
    count: int = 1
    module_class: str = ""
    inputs_finite: bool | None = None
    shapes: tuple[Operand, ...] = ()
    samples: tuple[int, ...] = ()
    features: tuple[int, ...] = ()
    micro_batch: int | None = None
    parameter: str | None = None
    spread: tuple[str, ...] = ()
    culprit: str = ""
    reason: str = ""

    def __str__(self) -> str:
        made = f"made by {self.op} " if self.op else ""
        return f"first values that are not finite, {made}{PHASES[self.phase]}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "phase": self.phase,
            "step": self.step,
            "module": self.module,
            "module_class": self.module_class,
            "source": self.source,
            "op": self.op,
            "inputs_finite": self.inputs_finite,
            "shapes": [operand.as_dict() for operand in self.shapes],
            "samples": list(self.samples),
            "features": list(self.features),
            "micro_batch": self.micro_batch,
            "parameter": self.parameter,
            "spread": list(self.spread),
            "culprit": self.culprit,
            "reason": self.reason,
            "count": self.count,
        }

    def told(self) -> list[str]:
        """What it says beside its place, a line each."""
        passed = " -> ".join(self.spread)
        parts = {
            "reason": self.reason,
            "culprit": self.culprit,
            "samples of the batch": listed(self.samples),
            "features": listed(self.features),
            "micro-batch": "" if self.micro_batch is None else str(self.micro_batch),
            "parameter": self.parameter or "",
            "shapes": ", ".join(f"{o.role} {o.dtype}{list(o.shape)}" for o in self.shapes),
            "passed on by": passed,
        }
        return [f"{name} {text}" for name, text in parts.items() if text]


def listed(numbers: tuple[int, ...], most: int = 8) -> str:
    """The first of some indices, and how many there are."""
    shown = ", ".join(map(str, numbers[:most]))
    return f"{shown} and {len(numbers) - most} more" if len(numbers) > most else shown


def origin_at(history: History, step: int) -> Origin | None:
    """The origin of that step, when it was found."""
    origin = history.facts.get("origin")
    return origin if isinstance(origin, Origin) and origin.step == step else None
