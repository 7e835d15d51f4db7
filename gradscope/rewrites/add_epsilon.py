"""add-epsilon."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import called, dotted, held, tensorflow_word, torch_word
from gradscope.program.source import Edit, Source, keyword
from gradscope.rewriting import Site, everywhere, rewrite

SPREADS = ("std", "norm", "sigma", "var", "scale", "deviation", "count", "total", "max")
"""Words in the name of what may be zero, and is divided by."""


@everywhere
@rewrite
def add_epsilon(source: Source, _site: Site) -> Source:
    """Arguments of log and sqrt, and what is divided by, kept away from zero; exp(x) / sum(exp(x)) as a softmax along
    the dimension of its sum."""
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
    scores = _scores(node.left)
    total = _total(source, below)
    if scores is not None and total is not None and ast.unparse(total[0]) == ast.unparse(scores):
        return [source.instead(node, _softmax(source, scores, total[1]))]
    text = source.of(below)
    if any(w in text.lower() for w in SPREADS) and not text.isupper() and "size" not in text:
        return [source.instead(below, f"({text} + 1e-2)" if _is_numpys(source, node) else f"({text} + 1e-8)")]
    return []


def _scores(node: ast.expr) -> ast.expr | None:
    """What stands inside an exp()."""
    if not isinstance(node, ast.Call) or called(node) != "exp":
        return None
    return node.args[0] if node.args else getattr(node.func, "value", None)


def _total(source: Source, node: ast.expr) -> tuple[ast.expr, str] | None:
    """Scores and dimension of a sum of exponentials that keeps its dimensions; without those it is no softmax."""
    if not isinstance(node, ast.Call) or called(node) not in {"sum", "reduce_sum"}:
        return None
    method = isinstance(node.func, ast.Attribute) and _scores(node.func.value) is not None
    given = [node.func.value, *node.args] if method else node.args  # type: ignore[attr-defined]
    scores = _scores(given[0]) if given else None
    named = keyword(node, "dim") or keyword(node, "axis")
    along = named or (given[1] if len(given) > 1 else None)
    kept = keyword(node, "keepdim") or keyword(node, "keepdims") or (given[2] if len(given) > 2 else None)
    if scores is None or along is None:
        return None
    first = source.of(along) == "0"
    return (scores, source.of(along)) if first or (kept is not None and source.of(kept) == "True") else None


def _softmax(source: Source, scores: ast.expr, along: str) -> str:
    if source.framework == "torch":
        return f"{torch_word(source, 'softmax')}({held(source, scores)}.float(), dim={along})"
    return f"{tensorflow_word(source, 'nn.softmax')}({source.of(scores)}, axis={along})"


def _is_numpys(source: Source, node: ast.BinOp) -> bool:
    """Whether features are standardized: one that hardly varies must not be blown up."""
    return (
        isinstance(node.left, ast.BinOp)
        and isinstance(node.left.op, ast.Sub)
        and "std" in source.of(node.right).lower()
    )
