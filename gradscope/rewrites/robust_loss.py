"""robust-loss."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import called, dotted
from gradscope.program.source import Source, keyword
from gradscope.rewriting import Site, rewrite

TORCH = {"mse_loss": "smooth_l1_loss", "MSELoss": "SmoothL1Loss"}
KERAS = {"MeanSquaredError": "Huber"}
WORDS = ("mse", "mean_squared_error")


@rewrite
def robust_loss(source: Source, _site: Site) -> Source:
    """Huber's loss instead of the squared error."""
    table = TORCH if source.framework == "torch" else KERAS
    edits = []
    for call in source.calls():
        if called(call) in table and not dotted(call.func).endswith("metrics.MeanSquaredError"):
            text = source.of(call.func)
            edits.append(source.instead(call.func, text.removesuffix(called(call)) + table[called(call)]))
        given = keyword(call, "loss")
        if isinstance(given, ast.Constant) and given.value in WORDS:
            edits.append(source.instead(given, '"huber"'))
    if not edits:
        raise CannotApply("no squared error is written in this file")
    return source.edited(edits)
