"""Plan: one note that is to be taken of a graph in every step, and how it is measured inside jit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Plan:
    """measure: the values of the slots -> one flat array: the quantities, then what `tail` names.

    tail: "classes" for counts of classes, "inactive" for a flag of each unit, "" for nothing.
    """

    table: str
    subject: str
    quantities: tuple[str, ...]
    slots: tuple[int, ...]
    measure: Callable[..., Any]
    traits: dict[str, Any] = field(default_factory=dict)
    module: str = ""
    source: str | None = None
    type: str = ""
    tail: str = ""
    order: int = 0
