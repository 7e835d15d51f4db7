"""Where a value that is not finite arose: facts["origin"] of a history."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from gradscope.history import History
from gradscope.origin import Origin
from gradscope.row import Note


def origin_of(history: History, step: int, notes: Sequence[Note], norms: Any, columns: Sequence[int]) -> Origin:
    """The origin of a step that has a loss or a gradient that is not finite.

    The first layer or activation that made non-finite values of finite ones; else the loss, when that is not finite;
    else the backward pass, at the last layer (in the order of execution) whose gradient is not finite. norms: those of
    the gradients in `columns`, flat. phase "input": what entered was not finite.
    """
    origin = partial(Origin, step=step)
    modules = sorted((n for n in notes if n.table == "module" and n.subject == n.module), key=order_of)
    for note in notes:
        if note.table == "input" and value_of(note, "nonfinite") > 0:
            return origin("input", module=note.module, source=note.source)
    for note in modules:
        if value_of(note, "output_nonfinite") > 0 and not value_of(note, "input_nonfinite") > 0:
            return origin("forward", op=note.type, module=note.module, source=note.source)
    for note in notes:
        if note.table == "loss" and "value" in note.quantities and not np.isfinite(value_of(note, "value")):
            return origin("loss", op=note.type, module=note.module, source=note.source)
    bad = {at for at, norm in zip(columns, np.asarray(norms, "f8").tolist(), strict=True) if not np.isfinite(norm)}
    held = {history["gradient"].subjects[at].module for at in bad}
    last = next((n for n in reversed(modules) if n.module in held), None)
    if last is not None:
        return origin("backward", op=last.type, module=last.module, source=last.source)
    table = history["module"]
    known = [(float(np.nanmax(o)), s) for s, o in zip(table.subjects, table.column("order").T, strict=True) if len(o)]
    known = [k for k in known if k[1].name in held]
    if known:
        subject = max(known, key=lambda k: k[0])[1]
        return origin("backward", op=subject.type, module=subject.name, source=subject.source)
    return origin("backward", module=history["gradient"].subjects[max(bad)].module if bad else "")


def order_of(note: Note) -> float:
    """When in the forward pass it came."""
    return value_of(note, "order")


def value_of(note: Note, quantity: str) -> float:
    """One number of a note; NaN when it has none of that name."""
    if quantity not in note.quantities:
        return float("nan")
    return float(np.asarray(note.values, "f8").ravel()[note.quantities.index(quantity)])
