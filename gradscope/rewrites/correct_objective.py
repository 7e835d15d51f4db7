"""correct-objective."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import called
from gradscope.program.source import Edit, Source
from gradscope.rewriting import Site, everywhere, rewrite

MEANS = frozenset({"mean", "reduce_mean", "sum", "reduce_sum"})


@everywhere
@rewrite
def correct_objective(source: Source, _site: Site) -> Source:
    """A difference that is averaged is squared first; an ascent, by a sign or by adding the step, becomes a descent."""
    differences = {
        t for n in source.walk(ast.Assign) if isinstance(n, ast.Assign) and _is_difference(n.value) for t in _names(n)
    }
    for call in source.calls():
        if called(call) not in MEANS:
            continue
        inner = call.args[0] if call.args else getattr(call.func, "value", None)
        if inner is not None and (_is_difference(inner) or (isinstance(inner, ast.Name) and inner.id in differences)):
            return source.edited([source.instead(inner, _squared(source, call, inner))])
    edits = [*_ascents(source), *_signs(source)]
    if not edits:
        raise CannotApply(
            "no difference that is averaged as it is, no ascent and no minus before a loss stands in this file"
        )
    return source.edited(edits)


def _squared(source: Source, call: ast.Call, inner: ast.expr) -> str:
    """Its square, in parentheses where a method follows and none stand there."""
    name = isinstance(inner, ast.Name)
    text = f"{source.of(inner)} ** 2" if name else f"({source.of(inner)}) ** 2"
    return f"({text})" if name and not call.args else text


def _is_difference(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)


def _names(statement: ast.Assign) -> list[str]:
    return [t.id for t in statement.targets if isinstance(t, ast.Name)]


def _ascents(source: Source) -> list[Edit]:
    """`w.assign_add(rate * gradient)`, `maximize=True`, `w += rate * w.grad`."""
    edits = []
    for call in source.calls():
        if called(call) == "assign_add" and call.args and isinstance(call.args[0], ast.BinOp):
            end = source.span(call.func)[1]
            edits.append(Edit(end - len("assign_add"), end, "assign_sub"))
        edits += [source.instead(k.value, "False") for k in call.keywords if k.arg == "maximize"]
    for node in source.walk(ast.AugAssign):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add) and ".grad" in source.of(node.value):
            start = source.span(node.target)[1]
            at = source.text.index("+=", start)
            edits.append(Edit(at, at + 2, "-="))
    return edits


def _signs(source: Source) -> list[Edit]:
    """`loss = -criterion(...)`, `(-loss).backward()`."""
    edits = []
    for node in source.walk(ast.UnaryOp):
        if not isinstance(node, ast.UnaryOp) or not isinstance(node.op, ast.USub):
            continue
        text = source.of(node.operand).lower()
        if any(w in text for w in ("loss", "criterion", "entropy", "mse")) and isinstance(
            node.operand, ast.Call | ast.Name
        ):
            edits.append(source.instead(node, source.of(node.operand)))
    return edits
