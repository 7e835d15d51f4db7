"""correct-objective."""

from __future__ import annotations

import ast
import re

from gradscope.errors import CannotApply
from gradscope.program.names import assignments, called, dotted
from gradscope.program.objectives import objective_terms
from gradscope.program.source import Edit, Source
from gradscope.rewriting import Site, everywhere, rewrite

MEANS = frozenset({"mean", "reduce_mean", "sum", "reduce_sum"})
BOUNDED = re.compile(r"(?i)log(?!it)|exp(?!ect|and|lode)|entropy|similarity|cos")
"""What has its own lowest value, or none on purpose: a likelihood, a divergence, a similarity."""
LOSS = re.compile(r"(?i)loss|criterion|mse|cross_?entropy")


@everywhere
@rewrite
def correct_objective(source: Source, _site: Site) -> Source:
    """In the loss of the training, a difference that is averaged is squared first; an ascent, by a sign or by adding
    the step, becomes a descent."""
    terms = objective_terms(source)
    for call in terms:
        if not isinstance(call, ast.Call) or called(call) not in MEANS:
            continue
        inner = call.args[0] if call.args else getattr(call.func, "value", None)
        if inner is not None and _is_plain_difference(source, inner):
            return source.edited([source.instead(inner, _squared(source, call, inner))])
    edits = [*_ascents(source), *_signs(source, terms)]
    if not edits:
        raise CannotApply(
            "no difference that is averaged as it is, no ascent and no minus before a loss stands in this file"
        )
    return source.edited(dict.fromkeys(edits))


def _squared(source: Source, call: ast.Call, inner: ast.expr) -> str:
    """Its square, in parentheses where a method follows and none stand there."""
    name = isinstance(inner, ast.Name)
    text = f"{source.of(inner)} ** 2" if name else f"({source.of(inner)}) ** 2"
    return f"({text})" if name and not call.args else text


def _is_plain_difference(source: Source, node: ast.expr) -> bool:
    """Whether all that an expression stands for is prediction minus target; two outputs of one critic are not."""
    if isinstance(node, ast.Name):
        held = [s.value for s in assignments(source, node.id)]
        return bool(held) and all(isinstance(v, ast.BinOp) and _is_plain_difference(source, v) for v in held)
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Sub):
        return False
    sides = node.left, node.right
    calls = [dotted(s.func) for s in sides if isinstance(s, ast.Call)]
    constant = any(isinstance(s, ast.Constant) for s in sides)
    return not constant and not BOUNDED.search(source.of(node)) and not (len(calls) == 2 and calls[0] == calls[1])


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


def _signs(source: Source, terms: list[ast.expr]) -> list[Edit]:
    """`loss = -criterion(...)`, `(-loss).backward()`."""
    edits = []
    for node in terms:
        if not isinstance(node, ast.UnaryOp) or not isinstance(node.op, ast.USub):
            continue
        operand = node.operand
        name = source.of(operand.func if isinstance(operand, ast.Call) else operand)
        if isinstance(operand, ast.Call | ast.Name) and LOSS.search(name):
            edits.append(source.instead(node, source.of(operand)))
    return edits
