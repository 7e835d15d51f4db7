"""glorot-initialization."""

from __future__ import annotations

from gradscope.program.initializers import drawn_anew
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def glorot_initialization(source: Source, _site: Site) -> Source:
    """Weights of variance 2 / (fan-in + fan-out), for tanh and sigmoid."""
    return drawn_anew(source, "xavier_uniform_", "", "glorot_uniform")
