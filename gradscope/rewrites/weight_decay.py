"""weight-decay."""

from __future__ import annotations

from gradscope.program.names import optimizer_calls
from gradscope.program.numbers import shown
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def weight_decay(source: Source, site: Site) -> Source:
    """The argument of the optimizer."""
    value = shown(site.number("decay"))
    return source.edited([source.with_argument(c, "weight_decay", value) for c in optimizer_calls(source)])
