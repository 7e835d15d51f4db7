"""Plan: one note that is to be taken of a graph in every step, and how it is measured inside jit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradscope.row import Note


@dataclass(slots=True)
class Plan:
    """note: what is to be said; it has no values yet. slots: of the graph, whose values are measured.

    measure: the values of the slots -> one flat array: the note's quantities, but for those that the host knows (order,
    dead_fraction), then what `tail` names: "classes" for counts of classes, "inactive" for a flag of each unit, "" for
    nothing. order: where it stands in the graph.
    """

    note: Note
    slots: tuple[int, ...]
    measure: Callable[..., Any]
    tail: str = ""
    order: int = 0
