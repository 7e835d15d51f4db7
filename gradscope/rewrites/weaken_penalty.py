"""weaken-penalty."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import OPTIMIZERS, called
from gradscope.program.numbers import number_edit, number_of
from gradscope.program.penalties import factors
from gradscope.program.source import Edit, Source
from gradscope.rewriting import Site, rewrite

SHARE, LIMIT = 0.01, 1e-4
"""Of what it was, and the usual strength of a weight decay."""
REGULARIZERS = frozenset({"l1", "l2", "L1", "L2", "l1_l2", "L1L2"})


@rewrite
def weaken_penalty(source: Source, _site: Site) -> Source:
    """Weight decay, the regularizers of layers and the factor of a penalty in the loss, to a hundredth of what they
    are, and to 1e-4 at most."""
    given: list[ast.expr] = []
    for call in source.calls():
        if called(call) in OPTIMIZERS | REGULARIZERS:
            given += [k.value for k in call.keywords if k.arg in {"weight_decay", "l1", "l2"}]
        given += call.args if called(call) in REGULARIZERS else []
    for table in source.walk(ast.Dict):  # groups of parameters
        assert isinstance(table, ast.Dict)
        pairs = zip(table.keys, table.values, strict=True)
        given += [v for k, v in pairs if isinstance(k, ast.Constant) and k.value == "weight_decay"]
    edits = [e for g in [*given, *factors(source)] if (e := _weaker(source, g)) is not None]
    if not edits:
        raise CannotApply("no weight_decay, no regularizer and no penalty of weights stands in this file")
    return source.edited(dict.fromkeys(edits))


def _weaker(source: Source, given: ast.expr) -> Edit | None:
    value = number_of(source, given)
    return number_edit(source, given, min(value * SHARE, LIMIT)) if value else None
