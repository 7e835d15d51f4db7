"""shuffle-data."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.loaders import training_calls
from gradscope.program.source import Edit, Source, keyword
from gradscope.rewriting import Site, rewrite


@rewrite
def shuffle_data(source: Source, _site: Site) -> Source:
    """shuffle=True where batches of the training are drawn: of the first DataLoader of the training that lacks it, or
    of fit()."""
    for call in training_calls(source, "DataLoader", "fit", "flow"):
        given = keyword(call, "shuffle")
        off = isinstance(given, ast.Constant) and given.value is False
        absent = given is None and _is_loader(call)
        taken = any(keyword(call, k) is not None for k in ("sampler", "batch_sampler"))
        if (off or absent) and not taken:
            return source.edited([source.with_argument(call, "shuffle", "True")])
    for call in training_calls(source, "batch"):
        chain = ast.unparse(call.func)
        if "shuffle" not in chain and ("Dataset" in chain or "dataset" in chain.lower()):
            at = source.span(call.func.value)[1] if isinstance(call.func, ast.Attribute) else 0
            return source.edited([Edit(at, at, ".shuffle(10_000)")])
    raise CannotApply("no DataLoader, fit() or Dataset that could shuffle stands in this file")


def _is_loader(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name | ast.Attribute) and ast.unparse(call.func).endswith("DataLoader")
