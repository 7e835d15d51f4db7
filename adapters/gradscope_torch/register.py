"""Register: the objectives of one observation, one for each optimizer, or for each line of optimizers that follow each
other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradscope.scope import Scope

from gradscope_torch.names import Names
from gradscope_torch.objective import Objective

MOST_RESTING = 16
"""So many objectives alike whose optimizers are gone are kept, with their models, in case they are continued."""


class Register:
    """Finds the Objective of an optimizer, and makes it where there is none. surveyed: called when parameters may have
    come."""

    def __init__(self, scope: Scope, names: Names, surveyed: Callable[[], None]):
        self.scope = scope
        self.names = names
        self.surveyed = surveyed
        self.order: list[Objective] = []
        """In the order in which they came."""
        self._by_parameters: dict[frozenset[int], Objective] = {}
        self._by_optimizer: dict[int, Objective] = {}
        self._made = 0
        self._held = 0

    def known(self, optimizer: Any) -> Objective | None:
        """The Objective that the optimizer had at its last step, if it had one."""
        return self._by_optimizer.get(id(optimizer))

    def of(self, optimizer: Any) -> Objective:
        """The Objective of an optimizer; one with the same parameters continues that of its predecessor."""
        found = self._by_optimizer.get(id(optimizer))
        if found is not None and found.optimizer is optimizer and not found.unknown:
            return found
        key = key_of(optimizer)
        found = found if found is not None and found.optimizer is optimizer else self._by_parameters.get(key)
        made = found is None
        if found is None:
            found = self._new(optimizer)
        self._by_parameters = {k: o for k, o in self._by_parameters.items() if o is not found} | {key: found}
        found.optimizer = optimizer
        self._by_optimizer[id(optimizer)] = found
        if not made:
            self.names.refresh()  # where an optimizer is given other parameters, the model has them too
        self.survey(found)
        return found

    def _new(self, optimizer: Any) -> Objective:
        self._made += 1
        kind = type(optimizer).__name__
        history = self.scope.new_history(
            f"{kind} {self._made}", framework="torch", optimizer=kind, settings=described(optimizer)
        )
        made = Objective(optimizer, history, self.names, self._made)
        resting = [o for o in self.order if o.optimizer is None and o.kind == made.kind]
        for one in resting[:-MOST_RESTING]:
            self._let_go(one)
        self.order.append(made)
        return made

    def _let_go(self, objective: Objective) -> None:
        """Writes what waits and forgets an objective, and its model where no other objective needs it."""
        objective.flush()
        self.order = [o for o in self.order if o is not objective]
        self._by_parameters = {k: o for k, o in self._by_parameters.items() if o is not objective}
        self._by_optimizer = {k: o for k, o in self._by_optimizer.items() if o is not objective}
        self.names.release(objective.parameters, [p for o in self.order for p in o.own()])

    def survey(self, *objectives: Objective) -> None:
        """Lets objectives (all of them, without arguments) find their parameters and names anew."""
        for one in objectives or self.order:
            one.survey({id(p) for o in self.order if o is not one for p in o.own()})
        self.surveyed()

    def look_for_replaced(self) -> None:
        """Whether a model holds other parameters than at the last look."""
        held = hash(tuple(map(id, self.names.all_parameters())))
        if held != self._held:
            self._held = held
            for objective in self.order:
                objective.outdated = True


def key_of(optimizer: Any) -> frozenset[int]:
    """Which parameters an optimizer holds."""
    return frozenset(id(p) for g in optimizer.param_groups for p in g["params"])


def described(optimizer: Any) -> dict[str, Any]:
    """The numbers of an optimizer's first group: learning rate, momentum, weight decay ..."""
    group = optimizer.param_groups[0] if optimizer.param_groups else {}
    return {k: v for k, v in group.items() if isinstance(v, int | float | bool) and k != "params"}
