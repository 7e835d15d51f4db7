"""he-initialization."""

from __future__ import annotations

from gradscope.program.initializers import drawn_anew
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def he_initialization(source: Source, _site: Site) -> Source:
    """Weights of deviation sqrt(2 / fan-in), for ReLU."""
    return drawn_anew(source, "kaiming_normal_", ', nonlinearity="relu"', "he_normal")
