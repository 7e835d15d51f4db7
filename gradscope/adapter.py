"""Adapter: what a framework must offer to gradscope. Frozen and tiny: recognition never imports the framework."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from gradscope.scope import Scope
    from gradscope.workload import Cold, Score, Workload


class Watched(Protocol):
    """What watch() of an adapter returns."""

    def flush(self) -> None:
        """Writes what waits, so that the history is up to date."""

    def refresh(self) -> None:
        """Writes what waits, and gives everything its final name: before a report."""

    def close(self) -> None:
        """Removes every hook; the model and the optimizer are as if never watched."""


@runtime_checkable
class TakesLosses(Protocol):
    """What watch() of an adapter may return beside: rows that come later than the losses that are logged for them."""

    def log(self, value: float) -> bool:
        """Takes the loss of the step that was just taken; False when nobody steps."""


@runtime_checkable
class Adapter(Protocol):
    """One framework. Its functions import the framework; the adapter itself does not."""

    name: str
    install: str
    module: str
    """What a program imports that is to be observed: the session begins once it has."""
    companions: tuple[str, ...]
    """Libraries beside it that a session is told of, by its imported(name), once they have been imported."""
    replays: bool
    """Whether a step that is not finite can be withheld, saved, and run again."""

    def available(self) -> bool:
        """Whether the framework is installed."""

    def recognizes(self, thing: Any) -> bool:
        """Whether a model (or a model class) belongs to this framework."""

    def watch(self, scope: Scope, model: Any, optimizer: Any) -> Watched:
        """Observes a model and its optimizer in a loop of the user's own."""

    def session(self, scope: Scope) -> AbstractContextManager[Any]:
        """Observes everything that trains while the context is open."""

    def train(self, scope: Scope, workload: Workload) -> None:
        """Trains a workload under observation."""

    def fresh(self, workload: Workload, seed: int) -> Workload:
        """Seeds every random stream, and gives the workload a model of its own: built anew, or copied."""

    def evaluate(self, workload: Workload) -> Score:
        """How well the model does on what was held out, in evaluation mode; on the batches where nothing was."""

    def treat(self, workload: Workload, remedy: str, settings: Mapping[str, Any]) -> Workload:
        """The workload with a remedy of that name; what was given is left as it is. Raises CannotApply."""

    def cold(self, scope: Scope, target: Cold) -> None:
        """Passes random inputs through a fresh model once, forward and backward."""
