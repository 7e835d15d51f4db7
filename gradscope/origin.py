"""Origin: where a value that is not finite was born."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradscope.verdict import Evidence, Role

if TYPE_CHECKING:
    from gradscope.history import History

PASSES = {
    "input": "in the data",
    "parameter": "in the weights, before the step",
    "forward": "in the forward pass",
    "loss": "in the loss",
    "backward": "in the backward pass",
}
"""Where in a step, and how it is said."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The first operation of a step that made something not finite of finite inputs.

    direction: one of PASSES. op: the operation, as its framework calls it. module: dotted name. source: "file:line" of
    the user. count: values that are not finite. step: of the optimizer.
    """

    direction: str
    step: int
    op: str = ""
    module: str = ""
    source: str | None = None
    count: int = 1

    def __str__(self) -> str:
        made = f"made by {self.op} " if self.op else ""
        return f"first values that are not finite, {made}{PASSES[self.direction]}"


def born(history: History, step: int) -> list[Evidence]:
    """The evidence of the origin in facts["origin"], when there is one, of that step."""
    origin = history.facts.get("origin")
    if not isinstance(origin, Origin) or origin.step != step:
        return []
    module = origin.module or None
    return [Evidence(str(origin), origin.count, ">", 0, step, module=module, source=origin.source, role=Role.HARM)]
