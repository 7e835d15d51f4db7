"""smooth-operation."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import called, dotted
from gradscope.program.source import Edit, Source
from gradscope.rewriting import Site, rewrite

STEPS = frozenset({"round", "floor", "ceil", "sign", "trunc", "rint"})


@rewrite
def smooth_operation(source: Source, _site: Site) -> Source:
    """What stands inside an operation without slope, in its place; of a comparison what is compared. Of several
    the last before the backward pass: the nearest to the loss."""
    edits: list[Edit] = []
    for call in source.calls():
        if called(call) in STEPS and _is_tensors(source, call):
            inner = call.args[0] if call.args else call.func.value  # type: ignore[attr-defined]
            edits.append(source.instead(call, held(source, inner)))
        elif called(call) == "cast" and call.args and isinstance(call.args[0], ast.Compare):
            edits.append(source.instead(call, held(source, call.args[0].left)))
        elif called(call) in {"float", "to"} and isinstance(getattr(call.func, "value", None), ast.Compare):
            edits.append(source.instead(call, held(source, call.func.value.left)))  # type: ignore[attr-defined]
    chosen = _before_backward(source, edits)
    if not chosen:
        raise CannotApply(
            "no round(), sign(), floor() or comparison of a tensor stands on the way to the loss in this file"
        )
    return source.edited(chosen[-1:])


def held(source: Source, node: ast.expr) -> str:
    """The text of an expression, in parentheses where it needs them."""
    text = source.of(node)
    return f"({text})" if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp | ast.IfExp) else text


def _is_tensors(source: Source, call: ast.Call) -> bool:
    holder = dotted(call.func).rpartition(".")[0]
    return holder in {"torch", "tf", "tf.math", "tensorflow", "ops", "keras.ops", "K"} or (
        not call.args and "." in source.of(call.func)
    )


def _before_backward(source: Source, edits: list[Edit]) -> list[Edit]:
    """Those up to the last backward pass or gradient: what comes later belongs to an evaluation."""
    ends = [
        source.span(c)[0] for c in source.calls() if called(c) in {"backward", "gradient", "fit", "apply_gradients"}
    ]
    return [e for e in edits if not ends or e.start < max(ends)]
