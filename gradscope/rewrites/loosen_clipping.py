"""loosen-clipping."""

from __future__ import annotations

from gradscope.program.clipping import with_limit
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def loosen_clipping(source: Source, site: Site) -> Source:
    """The limit where it is written."""
    return with_limit(source, site.number("max_norm"))
