"""Competition: what the objectives of one training, one for each optimizer, have to do with each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gradscope.history import History
    from gradscope.row import Note
    from gradscope.scope import Scope


class Objective(Protocol):
    """The recorder of one optimizer's steps."""

    history: History
    step: int


def note_competition(scope: Scope, objective: Objective) -> None:
    """An objective steps, by a loss of its own: it competes with the one that did before."""
    last: Objective | None = scope.last_objective
    if last is not None and last is not objective and objective.step:
        for one in (last, objective):
            one.history.facts["competing"] = True
    scope.last_objective = objective


def belongs(note: Note, objective: Objective, objectives: Iterable[Objective]) -> bool:
    """Whether a note is about an objective: it is, unless it is about a module that another one of them trains."""
    if note.table == "loss":
        return True
    others = [o for o in objectives if o is not objective]
    return not any(
        subject.module == note.module and subject.traits["optimized"]
        for other in others
        for subject in other.history["gradient"].subjects
    )
