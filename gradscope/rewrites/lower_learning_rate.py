"""lower-learning-rate."""

from __future__ import annotations

from gradscope.rates import with_rate
from gradscope.rewriting import Site, rewrite
from gradscope.source import Source


@rewrite
def lower_learning_rate(source: Source, site: Site) -> Source:
    """The number that the optimizer is made with."""
    return with_rate(source, site.number("rate"), site.history.facts.get("optimizer"))
