"""Objectives: the expressions that a training makes small, told by what backward(), a tape or grad() is given."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradscope.program.names import assignments, called, dotted
from gradscope.program.source import Source, keyword

TAKERS = frozenset({"backward", "manual_backward", "gradient", "minimize"})
"""Methods whose first argument is a loss; backward() without one is called of it."""
TRANSFORMS = frozenset({"grad", "value_and_grad"})
STEPS = frozenset({"training_step", "compute_loss"})
"""Methods whose returned value a trainer makes small."""


def objective_terms(source: Source) -> list[ast.expr]:
    """Losses and the terms that they are sums of, with their signs, through names and functions of this file."""
    found: list[ast.expr] = []
    waiting = list(_losses(source))
    while waiting:
        node = waiting.pop(0)
        if any(node is n for n in found):
            continue
        found.append(node)
        waiting += _within(source, node)
    return found


def _losses(source: Source) -> Iterator[ast.expr]:
    for call in source.calls():
        name = called(call)
        if name in TAKERS and (given := [a for a in call.args if not isinstance(a, ast.Starred)]):
            yield given[0]
        elif name == "backward" and isinstance(call.func, ast.Attribute):
            yield call.func.value
        elif name in TRANSFORMS and call.args:
            yield from _returned(source, call.args[0])
        elif name == "compile" and (loss := keyword(call, "loss")) is not None:
            yield from _returned(source, loss)
    for function in source.walk(ast.FunctionDef):
        if function.name in STEPS:  # type: ignore[attr-defined]
            yield from _returns(function)


def _within(source: Source, node: ast.expr) -> list[ast.expr]:
    """What an expression is the sum, the product or the negative of, or another name for."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    if isinstance(node, ast.Tuple):
        return list(node.elts[:1])
    if isinstance(node, ast.Name | ast.Attribute):
        added = [n for n in source.walk(ast.AugAssign) if isinstance(n, ast.AugAssign)]
        name = dotted(node)
        held = [s.value for s in assignments(source, name)]
        return held + [n.value for n in added if dotted(n.target) == name and isinstance(n.op, ast.Add | ast.Sub)]
    if isinstance(node, ast.Call) and called(node) == "scale" and node.args:  # GradScaler's
        return list(node.args[:1])
    return list(_returned(source, node.func)) if isinstance(node, ast.Call) else []


def _returned(source: Source, function: ast.expr) -> Iterator[ast.expr]:
    """What a function of this file returns, that a name stands for."""
    if isinstance(function, ast.Lambda):
        yield function.body
        return
    name = dotted(function).rpartition(".")[2]
    for made in source.walk(ast.FunctionDef):
        if name and made.name == name:  # type: ignore[attr-defined]
            yield from _returns(made)


def _returns(function: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value
