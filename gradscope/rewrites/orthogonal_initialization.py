"""orthogonal-initialization."""

from __future__ import annotations

from gradscope.program.initializers import drawn_anew
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def orthogonal_initialization(source: Source, _site: Site) -> Source:
    """Weights of orthogonal matrices."""
    return drawn_anew(source, "orthogonal_", "", "orthogonal")
