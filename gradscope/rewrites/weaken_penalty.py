"""weaken-penalty."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import OPTIMIZERS, called
from gradscope.program.numbers import number_edit, number_of
from gradscope.program.source import Edit, Source
from gradscope.rewriting import Site, rewrite

WEAKER = 1e-4
"""A hundredth at most, and no more than this: the usual strength of a weight decay."""
REGULARIZERS = frozenset({"l1", "l2", "L1", "L2", "l1_l2", "L1L2"})


@rewrite
def weaken_penalty(source: Source, _site: Site) -> Source:
    """Weight decay and the regularizers of layers, to a ten-thousandth or a hundredth of what they are."""
    edits: list[Edit] = []
    for call in source.calls():
        name = called(call)
        given = [
            k.value
            for k in call.keywords
            if k.arg in {"weight_decay", "l1", "l2"} and name in OPTIMIZERS | REGULARIZERS
        ]
        given += call.args if name in REGULARIZERS else []
        edits += [_weaker(source, g) for g in given]
    edits += [_weaker(source, n.value) for n in _named(source)]
    edits = [e for e in dict.fromkeys(edits) if e.text]
    if not edits:
        raise CannotApply("no weight_decay and no regularizer stands in this file")
    return source.edited(edits)


def _named(source: Source) -> list[ast.Assign]:
    """Numbers that are called a penalty."""
    words = ("weight_decay", "penalty", "l2", "l1", "decay", "reg", "lam", "lambda_", "lmbda", "wd")
    held = [n for n in source.walk(ast.Assign) if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
    return [n for n in held if n.targets[0].id.lower() in words and number_of(source, n.value)]  # type: ignore[attr-defined]


def _weaker(source: Source, given: ast.expr) -> Edit:
    value = number_of(source, given)
    if not value:
        return source.instead(given, "")
    return number_edit(source, given, min(value / 100, WEAKER))
