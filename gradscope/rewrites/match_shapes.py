"""match-shapes."""

from __future__ import annotations

import ast
import re

from gradscope.errors import CannotApply
from gradscope.program.names import dotted, tensorflow_word
from gradscope.program.objectives import objective_terms
from gradscope.program.source import Source
from gradscope.rewriting import Site, everywhere, rewrite

LOSS = re.compile(
    r"(?i)loss|criterion|objective|cost|mse|mae|bce|nll|huber|hinge|entropy|error|squared_difference|(^|[._])l[12]($|[_(])"
)
"""What the name of a call that is a loss has in it."""


@everywhere
@rewrite
def match_shapes(source: Source, site: Site) -> Source:
    """Prediction and target flattened where the two meet: (N, 1) and (N,) are one number a sample, both."""
    lines = site.lines(source)
    if not lines:
        raise CannotApply("the loss is computed in another file")
    there = [n for n in source.walk(ast.Call, ast.BinOp) if any(n.lineno <= x <= n.end_lineno for x in lines)]  # type: ignore[attr-defined]
    losses = [n for n in there if isinstance(n, ast.Call) and LOSS.search(source.of(n.func))]
    terms = [n for n in objective_terms(source) if isinstance(n, ast.Call) and n in there and not _is_operation(n)]
    losses += terms if len(terms) == 1 else []
    for node in [*losses, *(n for n in there if isinstance(n, ast.BinOp))]:
        pair = pair_of(node)
        if pair is not None:
            return source.edited([source.instead(side, flattened(source, side)) for side in pair])
    raise CannotApply(f"line {lines[0]}: no prediction and target stand there as two arguments or two sides of a minus")


def _is_operation(call: ast.Call) -> bool:
    """Whether a call is one of a framework's functions, which are told by their names."""
    return dotted(call.func).partition(".")[0] in {"torch", "tf", "keras", "ops", "K", "np", "jnp", "jax"}


def pair_of(node: ast.AST) -> tuple[ast.expr, ast.expr] | None:
    """The two of `loss(prediction, target)` or `prediction - target`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        pair = node.left, node.right
        return None if any(isinstance(side, ast.Constant) for side in pair) else pair
    plain = isinstance(node, ast.Call) and len(node.args) == 2
    if isinstance(node, ast.Call) and plain and not any(isinstance(a, ast.Constant | ast.Lambda) for a in node.args):
        return node.args[0], node.args[1]
    return None


def flattened(source: Source, node: ast.expr) -> str:
    """The text of an array with one dimension."""
    text = source.of(node)
    if source.framework == "torch":
        simple = isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
        return f"{text if simple else f'({text})'}.flatten()"
    return f"{tensorflow_word(source, 'reshape')}({text}, [-1])"
