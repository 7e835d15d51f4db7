"""Packaged: an adapter whose parts are modules of one package, imported when they are called for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradscope.scope import Scope
    from gradscope.workload import Cold, Score, Workload


class Packaged:
    """Behind the Adapter protocol: `package` has the modules watch (with Watch), session (with Session), trainer (with
    train, fresh and evaluate), surgery (with treat) and cold (with cold). What an adapter does otherwise, it says
    itself."""

    name: str
    install: str
    module: str
    companions: tuple[str, ...] = ()
    replays: bool = False
    package: str
    model: str
    """The class of its models, by its dotted name below the module."""

    def available(self) -> bool:
        """Whether the framework is installed."""
        return find_spec(self.module) is not None

    def recognizes(self, thing: Any) -> bool:
        """Whether a model, or the first of several, or a class is one of the framework; told without importing it."""
        framework = sys.modules.get(self.module)
        if framework is None:
            return False
        kind, one = attrgetter(self.model)(framework), first_of(thing)
        return isinstance(one, kind) or (isinstance(one, type) and issubclass(one, kind))

    def watch(self, scope: Scope, model: Any, optimizer: Any) -> Any:
        """Observes a model and its optimizer in a loop of the user's own."""
        return self._part("watch").Watch(scope, model, optimizer)

    def session(self, scope: Scope) -> Any:
        """A context in which everything that trains is observed."""
        return self._part("session").Session(scope)

    def train(self, scope: Scope, workload: Workload) -> None:
        """Trains a workload, observed, until the scope has enough."""
        self._part("trainer").train(scope, workload)

    def fresh(self, workload: Workload, seed: int) -> Workload:
        """Seeds every random stream, and gives the workload a model of its own: built anew, or copied."""
        made: Workload = self._part("trainer").fresh(workload, seed)
        return made

    def evaluate(self, workload: Workload) -> Score:
        """How well the model does on what was held out, in evaluation mode; on the batches where nothing was."""
        score: Score = self._part("trainer").evaluate(workload)
        return score

    def treat(self, workload: Workload, remedy: str, settings: Mapping[str, Any]) -> Workload:
        """The workload with a remedy of that name; what was given is left as it is. Raises CannotApply."""
        treated: Workload = self._part("surgery").treat(workload, remedy, settings)
        return treated

    def cold(self, scope: Scope, target: Cold) -> None:
        """Judges signal propagation of a fresh model on random inputs."""
        self._part("cold").cold(scope, target)

    def _part(self, module: str) -> Any:
        return import_module(f"{self.package}.{module}")


def first_of(thing: Any) -> Any:
    """The first of several, or the thing itself."""
    return thing[0] if isinstance(thing, list | tuple) and thing else thing
