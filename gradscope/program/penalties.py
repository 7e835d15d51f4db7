"""Penalties: where a program adds the size of its weights to the loss, and by which factor."""

from __future__ import annotations

import ast
import re

from gradscope.program.names import called, dotted
from gradscope.program.numbers import literal, number_of
from gradscope.program.objectives import objective_terms
from gradscope.program.source import Source

SIZES = frozenset({"norm", "vector_norm", "matrix_norm", "square", "abs", "pow", "l2_loss"})
WEIGHTS = re.compile(
    r"(?i)^(?!.*(sample|class|loss|grad))(.*(weight|kernel|param|trainable|variables|theta|coef).*|w_?\d*)$"
)
"""Names of weights."""
TOLD = re.compile(r"(?i)penal|regular|l1|l2|decay")
"""Functions of the user that return a penalty."""


def factors(source: Source) -> list[ast.expr]:
    """The number in each product of a number and a size of weights; a name before a literal number, which must be in
    the loss of the training."""
    bound = _bound(source)
    named = _penalties(source, bound)
    terms = objective_terms(source)
    found: list[ast.expr] = []
    for node in source.walk(ast.BinOp):
        parent = source.parent_of(node)
        inner = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mult)
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult) or inner:
            continue
        parts = _product(node)
        if any(_is_penalty(source, p, bound, named) for p in parts):
            numbers = [p for p in parts if number_of(source, p) is not None]
            chosen = sorted(numbers, key=lambda p: literal(p) is not None)[:1]
            found += [p for p in chosen if literal(p) is None or any(t is node for t in terms)]
    return found


def _product(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [*_product(node.left), *_product(node.right)]
    return [node]


def _is_penalty(source: Source, node: ast.expr, bound: set[str], named: set[str]) -> bool:
    """Whether a factor is a size of weights, a name for one, or what a function of the user returns as one."""
    if dotted(node) in named and not isinstance(node, ast.Call):
        return True
    own = {f.name for f in source.walk(ast.FunctionDef) if isinstance(f, ast.FunctionDef)}
    if isinstance(node, ast.Call) and called(node) in own and TOLD.search(called(node)):
        return True
    return _holds_size(node, bound)


def _holds_size(node: ast.AST, bound: set[str]) -> bool:
    for part in ast.walk(node):
        measured: ast.AST | None = None
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow):
            measured = part.left
        elif isinstance(part, ast.Call) and called(part) in SIZES:
            inside = isinstance(part.func, ast.Attribute) and dotted(part.func.value) not in {
                "torch",
                "tf",
                "torch.linalg",
            }
            method = inside and not (part.args and _are_weights(part.args[0], bound))
            measured = part.func.value if method else next(iter(part.args), None)  # type: ignore[attr-defined]
        if measured is not None and _are_weights(measured, bound):
            return True
    return False


def _are_weights(node: ast.AST, bound: set[str]) -> bool:
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    words = names | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    return "grad" not in words and (bool(names & bound) or any(WEIGHTS.match(w) for w in words))


def _bound(source: Source) -> set[str]:
    """Names that run over weights: `p` of `for p in model.parameters()`."""
    found: set[str] = set()
    for node in source.walk(ast.For, ast.GeneratorExp, ast.ListComp):
        loops = [node] if isinstance(node, ast.For) else node.generators  # type: ignore[attr-defined]
        for loop in loops:
            words = {n.attr for n in ast.walk(loop.iter) if isinstance(n, ast.Attribute)}
            words |= {n.id for n in ast.walk(loop.iter) if isinstance(n, ast.Name)}
            if any(WEIGHTS.match(w) for w in words):
                found |= {n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)}
    return found


def _penalties(source: Source, bound: set[str]) -> set[str]:
    """Names that a size of weights is assigned or added to."""
    found = set()
    for node in source.walk(ast.Assign, ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]  # type: ignore[attr-defined]
        value: ast.expr = node.value  # type: ignore[attr-defined]
        whole = value.right if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add) else value
        if _holds_size(whole, bound):
            found |= {dotted(t) for t in targets}
    return found - {""}
