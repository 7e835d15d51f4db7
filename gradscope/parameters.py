"""Parameters: the subjects of both tables about parameters, in the same words from every adapter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gradscope.history import History, Subject, Table


def parameter(
    name: str,
    module: str,
    *,
    shape: Sequence[int],
    fan_in: int,
    dtype: str,
    optimized: bool,
    elsewhere: bool,
    trainable: bool,
    owner: object | None = None,
    source: str | None = None,
    library: bool = False,
    training: bool = True,
    reachable: bool = True,
    matrix: bool = True,
    module_type: str = "",
) -> Subject:
    """One parameter. fan_in: how many inputs an output depends on. elsewhere: another optimizer holds it.

    owner: the layer that holds it. library: a library built that layer. training: the layer is in that mode.
    reachable: the models that are known lead to it. matrix: false for one of several dimensions that multiplies number
    by number. module_type: the type of the layer, where no object is its owner.
    """
    traits = {
        "optimized": optimized,
        "elsewhere": elsewhere,
        "trainable": trainable,
        "shape": tuple(shape),
        "fan_in": fan_in,
        "size": math.prod(shape),
        "matrix": matrix and len(shape) > 1,
        "module_type": type(owner).__name__ if owner is not None else module_type,
        "library": library,
        "training": training,
        "reachable": reachable,
    }
    return Subject(name, module, dtype, source, traits)


def name_parameters(history: History, subjects: Sequence[Subject]) -> None:
    """Gives the columns of both tables of parameters their subjects, in that order. A name that is taken gets a '."""
    named: list[Subject] = []
    taken: set[str] = set()
    for subject in subjects:
        name = subject.name
        while name in taken:
            name += "'"
        taken.add(name)
        named.append(subject if name == subject.name else replace(subject, name=name))
    for table in (history["gradient"], history["parameter"]):
        _name_columns(table, named)


def _name_columns(table: Table, subjects: Sequence[Subject]) -> None:
    """Also where names have changed places."""
    changed = [at for at, s in enumerate(table.subjects) if s.name != subjects[at].name]
    for at in changed:
        table.rename(at, replace(subjects[at], name=f"{subjects[at].name} #{at}"))
    for at in changed:
        table.rename(at, subjects[at])
    for subject in subjects:
        table.add(subject)
