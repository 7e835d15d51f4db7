"""check-labels."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.source import Source
from gradscope.rewriting import Site, everywhere, rewrite


@everywhere
@rewrite
def check_labels(source: Source, _site: Site) -> Source:
    """One array that alone is put into another order, left in its own: the others would no longer belong to it."""
    alone = [s for s in _reordered(source) if sum(_index(o) == _index(s) for o in _reordered(source)) == 1]
    for statement in alone:
        index, name = _index(statement), ast.unparse(statement.targets[0])
        others = [
            n for n in source.walk(ast.Subscript) if isinstance(n, ast.Subscript) and ast.unparse(n.slice) == index
        ]
        if all(ast.unparse(n.value) == name for n in others):
            return source.edited([source.without(statement)])
    raise CannotApply(
        "no array that alone is put into another order stands in this file: look at pairs of input and label"
    )


def _reordered(source: Source) -> list[ast.Assign]:
    """Statements such as `x = x[order]`."""
    held = [n for n in source.walk(ast.Assign) if isinstance(n, ast.Assign)]
    return [n for n in held if _index(n) is not None]


def _index(statement: ast.Assign) -> str | None:
    value, target = statement.value, statement.targets[0]
    if not isinstance(value, ast.Subscript) or ast.unparse(value.value) != ast.unparse(target):
        return None
    return ast.unparse(value.slice) if isinstance(value.slice, ast.Name) else None
