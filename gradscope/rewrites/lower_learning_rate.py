"""lower-learning-rate."""

from __future__ import annotations

from gradscope.program.rates import with_rate
from gradscope.program.source import Source
from gradscope.rewriting import Site, everywhere, rewrite


@everywhere
@rewrite
def lower_learning_rate(source: Source, site: Site) -> Source:
    """The number that the optimizer is made with."""
    return with_rate(source, site.number("rate"), site.history.facts.get("optimizer"))
