"""add-zero-grad."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import calls_of, optimizer_names, step_calls
from gradscope.program.source import Edit, Source
from gradscope.rewriting import Site, rewrite


@rewrite
def add_zero_grad(source: Source, _site: Site) -> Source:
    """optimizer.zero_grad() before the first backward pass of each step; behind the step where only every n-th batch
    takes one."""
    names = optimizer_names(source)
    if not names:
        raise CannotApply("no optimizer has a name in this file")
    passes = calls_of(source, "backward")
    if not passes:
        raise CannotApply("no backward() stands in this file")
    lines = "\n".join(f"{n}.zero_grad()" for n in names)
    edits = [e for c in passes for e in _clearing(source, source.statement_of(c), lines)]
    return source.edited(dict.fromkeys(edits))


def _clearing(source: Source, statement: ast.stmt, lines: str) -> list[Edit]:
    """The edit that one backward pass needs; none where another one of the same step comes first."""
    parent = source.parent_of(statement)
    while isinstance(parent, ast.If | ast.For | ast.While | ast.With) and not _steps(source, parent):
        if not any(_steps(source, s) for s in _behind(source, parent)):
            break
        statement, parent = parent, source.parent_of(parent)
    beside = source.block_of(statement)
    for earlier in reversed(beside[: beside.index(statement)]):
        if _steps(source, earlier):
            break
        if any(isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "backward" for n in ast.walk(earlier)):
            return []
    now_and_then = [s for s in _behind(source, statement) if isinstance(s, ast.If) and "%" in source.of(s.test)]
    steps = [c for s in now_and_then for c in _steps(source, s)]
    if steps:
        return [source.after(source.statement_of(steps[-1]), lines)]
    return [source.before(statement, lines)]


def _behind(source: Source, statement: ast.stmt) -> list[ast.stmt]:
    beside = source.block_of(statement)
    return beside[beside.index(statement) + 1 :]


def _steps(source: Source, statement: ast.stmt) -> list[ast.Call]:
    """The steps of optimizers in a statement."""
    try:
        known = step_calls(source)
    except CannotApply:
        return []
    inside = {id(n) for n in ast.walk(statement)}
    return [c for c in known if id(c) in inside]
