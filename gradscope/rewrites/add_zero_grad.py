"""add-zero-grad."""

from __future__ import annotations

from gradscope.errors import CannotApply
from gradscope.program.names import calls_of, optimizer_names
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def add_zero_grad(source: Source, _site: Site) -> Source:
    """optimizer.zero_grad() before each backward pass."""
    names = optimizer_names(source)
    if not names:
        raise CannotApply("no optimizer has a name in this file")
    passes = calls_of(source, "backward")
    if not passes:
        raise CannotApply("no backward() stands in this file")
    lines = "\n".join(f"{n}.zero_grad()" for n in names)
    statements = {source.span(s): s for s in (source.statement_of(c) for c in passes)}
    return source.edited([source.before(s, lines) for s in statements.values()])
