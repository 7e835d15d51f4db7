"""add-epsilon."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import called, dotted, tensorflow_word, torch_word
from gradscope.program.source import Edit, Source
from gradscope.rewriting import Site, everywhere, rewrite

SPREADS = ("std", "norm", "sigma", "var", "scale", "deviation", "count", "total", "max")
"""Words in the name of what may be zero, and is divided by."""


@everywhere
@rewrite
def add_epsilon(source: Source, _site: Site) -> Source:
    """Arguments of log and sqrt, and what is divided by, kept away from zero; exp(x) / sum(exp(x)) as a softmax."""
    edits: list[Edit] = []
    for node in source.walk(ast.BinOp, ast.Call):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            edits += _division(source, node)
        elif isinstance(node, ast.Call):
            edits += _argument(source, node)
    chosen: list[Edit] = []
    for edit in sorted(set(edits), key=lambda e: (e.start, -e.end)):
        if not any(c.start <= edit.start and edit.end <= c.end and c.start != c.end for c in chosen):
            chosen.append(edit)
    if not chosen:
        raise CannotApply("no log, sqrt or division of an array stands in this file")
    return source.edited(chosen)


def _argument(source: Source, call: ast.Call) -> list[Edit]:
    name = called(call)
    if name not in {"log", "sqrt", "rsqrt"} or dotted(call.func).startswith("math."):
        return []
    numpy = dotted(call.func).startswith(("np.", "numpy."))
    inner = call.args[0] if call.args else getattr(call.func, "value", None)
    if inner is None or isinstance(inner, ast.Constant) or numpy or _is_safe(source, inner):
        return []
    text = source.of(inner)
    if name != "log":
        return [source.instead(inner, f"({text} + 1e-8)" if not call.args else f"{text} + 1e-8")]
    if source.framework == "torch" and not call.args:  # p.log(): what stands before the point has its parentheses
        return [_insertion(source, call, ".clamp_min(1e-7)")]
    if source.framework == "torch":
        simple = isinstance(inner, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
        return [source.instead(inner, f"{text if simple else f'({text})'}.clamp_min(1e-7)")]
    return [source.instead(inner, f"{tensorflow_word(source, 'maximum')}({text}, 1e-7)")]


def _insertion(source: Source, call: ast.Call, text: str) -> Edit:
    """Text before the last point of a method's name."""
    at = source.span(call.func)[1] - len(called(call)) - 1
    return Edit(at, at, text)


def _is_safe(source: Source, inner: ast.AST) -> bool:
    text = source.of(inner)
    return any(w in text for w in ("1e-", "eps", "clamp", "clip", "maximum", "EPS"))


def _division(source: Source, node: ast.BinOp) -> list[Edit]:
    below = node.right
    if isinstance(below, ast.Constant) or _is_safe(source, below):
        return []
    above = node.left
    if (
        isinstance(above, ast.Call)
        and called(above) == "exp"
        and ".sum(" in source.of(below)
        and "exp" in source.of(below)
    ):
        scores = above.args[0] if above.args else above.func.value  # type: ignore[attr-defined]
        if source.framework == "torch":
            return [source.instead(node, f"{torch_word(source, 'softmax')}({source.of(scores)}.float(), dim=-1)")]
        return [source.instead(node, f"{tensorflow_word(source, 'nn.softmax')}({source.of(scores)})")]
    text = source.of(below)
    if any(w in text.lower() for w in SPREADS) and not text.isupper() and "size" not in text:
        return [source.instead(below, f"({text} + 1e-2)" if _is_numpys(source, node) else f"({text} + 1e-8)")]
    return []


def _is_numpys(source: Source, node: ast.BinOp) -> bool:
    """Whether features are standardized: one that hardly varies must not be blown up."""
    return (
        isinstance(node.left, ast.BinOp)
        and isinstance(node.left.op, ast.Sub)
        and "std" in source.of(node.right).lower()
    )
