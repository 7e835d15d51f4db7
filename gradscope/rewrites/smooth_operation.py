"""smooth-operation."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import called, dotted, held, torch_word
from gradscope.program.numbers import literal
from gradscope.program.source import Edit, Source
from gradscope.rewriting import Site, rewrite

STEPS = frozenset({"round", "floor", "ceil", "sign", "trunc", "rint"})


@rewrite
def smooth_operation(source: Source, _site: Site) -> Source:
    """What stands inside an operation without slope, in its place; of a comparison what is compared. Of several
    the last before the backward pass: the nearest to the loss. Without one, an output that is clamped between 0 and 1,
    as a sigmoid."""
    edits: list[Edit] = []
    for call in source.calls():
        if called(call) in STEPS and _is_tensors(source, call):
            inner = call.args[0] if call.args else call.func.value  # type: ignore[attr-defined]
            edits.append(source.instead(call, held(source, inner)))
        elif called(call) == "cast" and call.args and isinstance(call.args[0], ast.Compare):
            edits.append(source.instead(call, held(source, call.args[0].left)))
        elif called(call) in {"float", "to"} and isinstance(getattr(call.func, "value", None), ast.Compare):
            edits.append(source.instead(call, held(source, call.func.value.left)))  # type: ignore[attr-defined]
    chosen = _before_backward(source, edits) or _clamps(source)
    if not chosen:
        raise CannotApply(
            "no round(), sign(), floor(), comparison or clamp of a tensor stands on the way to the loss in this file"
        )
    return source.edited(chosen[-1:])


def _clamps(source: Source) -> list[Edit]:
    """`torch.clamp(x, 0, 1)` and `x.clamp(0, 1)` in forward(): flat outside of its bounds."""
    edits = []
    for call in source.calls():
        own = "forward" in getattr(source.function_of(call), "name", "")
        if source.framework != "torch" or called(call) not in {"clamp", "clip"} or not own:
            continue
        method = dotted(call.func).rpartition(".")[0] != "torch"
        inner = call.func.value if method and isinstance(call.func, ast.Attribute) else call.args[0]
        bounds = [*call.args[0 if method else 1 :], *(k.value for k in call.keywords)]
        if [literal(b) for b in bounds] == [0.0, 1.0]:
            edits.append(source.instead(call, f"{torch_word(source, 'sigmoid')}({source.of(inner)})"))
    return edits


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
