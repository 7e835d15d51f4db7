"""rms-normalization."""

from __future__ import annotations

from gradscope.program.normalizations import normalized
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def rms_normalization(source: Source, _site: Site) -> Source:
    """Behind each layer with weights that an activation follows."""
    return normalized(source, "rms")
