"""robust-loss."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import assignments, called, calls_of, dotted, keras_word, target_of, torch_word
from gradscope.program.source import Edit, Source, keyword
from gradscope.program.surroundings import is_evaluation
from gradscope.rewriting import Site, rewrite

WORDS = ("mse", "mean_squared_error")


@rewrite
def robust_loss(source: Source, site: Site) -> Source:
    """Huber's loss instead of the squared error, where the training calls it; an evaluation keeps its own."""
    edits = [] if source.framework == "torch" else _compiled(source)
    if not edits:
        places = [site.line(source, s.source) for s in site.history["loss"].subjects]
        lines = {line for line in places if line is not None}
        calls = [c for c in source.calls() if any(c.lineno <= x <= (c.end_lineno or 0) for x in lines)]
        edits = [e for c in calls if not is_evaluation(source, c) and (e := _robust(source, c)) is not None]
    if not edits:
        raise CannotApply("the training calls no squared error in this file")
    return source.edited(edits)


def _compiled(source: Source) -> list[Edit]:
    """The losses that compile() is given: a word, an object, or the name of one."""
    edits = []
    for call in calls_of(source, "compile"):
        given = keyword(call, "loss")
        if isinstance(given, ast.Constant) and given.value in WORDS:
            edits.append(source.instead(given, '"huber"'))
        named = {dotted(given)} if isinstance(given, ast.Name | ast.Attribute) else set()
        for made in calls_of(source, "MeanSquaredError"):
            if made is given or target_of(source, made) in named - {""}:
                edits.append(_renamed(source, made.func, "Huber"))
    return edits


def _robust(source: Source, call: ast.Call) -> Edit | None:
    """The call with another function before its arguments; None for what is no squared error."""
    if source.framework == "torch":
        if called(call) == "mse_loss":
            return _renamed(source, call.func, "smooth_l1_loss")
        made = _made(source, call.func)
        if made is None or called(made) not in {"MSELoss", "mse_loss"}:
            return None
        text = f"{torch_word(source, 'nn.functional.smooth_l1_loss')}({', '.join(map(source.of, call.args))}"
        return source.instead(call, ", ".join([text, *(source.of(k) for k in [*call.keywords, *made.keywords])]) + ")")
    made = _made(source, call.func)
    if made is None or called(made) != "MeanSquaredError":
        return None
    return source.instead(
        call.func, f"{keras_word(source, 'losses.Huber')}({', '.join(map(source.of, made.keywords))})"
    )


def _made(source: Source, function: ast.expr) -> ast.Call | None:
    """The call that makes a loss, of `MSELoss()(...)` or of the name that it has; a bare function as its call."""
    values = [function] if isinstance(function, ast.Call) else [s.value for s in assignments(source, dotted(function))]
    if len(values) != 1:
        return None
    value = values[0]
    if isinstance(value, ast.Attribute | ast.Name):
        return ast.Call(value, [], [])
    return value if isinstance(value, ast.Call) else None


def _renamed(source: Source, function: ast.expr, name: str) -> Edit:
    """Another last word in the name of a function."""
    return source.instead(function, source.of(function).removesuffix(dotted(function).rpartition(".")[2]) + name)
