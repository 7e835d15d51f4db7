"""clip-gradient-value."""

from __future__ import annotations

from gradscope.program.clipping import clipped
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def clip_gradient_value(source: Source, site: Site) -> Source:
    """Each entry, between backward and step."""
    return clipped(source, "clip_grad_value_", "clipvalue", site.number("max_value"))
