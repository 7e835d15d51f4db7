"""clip-gradient-norm."""

from __future__ import annotations

from gradscope.program.clipping import clipped
from gradscope.program.source import Source
from gradscope.rewriting import Site, everywhere, rewrite


@everywhere
@rewrite
def clip_gradient_norm(source: Source, site: Site) -> Source:
    """All gradients together, between backward and step."""
    return clipped(source, "clip_grad_norm_", "global_clipnorm", site.number("max_norm"))
