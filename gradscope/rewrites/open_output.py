"""open-output."""

from __future__ import annotations

from gradscope.program.activations import output_activations
from gradscope.program.outputs import without
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def open_output(source: Source, _site: Site) -> Source:
    """The output without its bounded activation."""
    return without(source, output_activations(source, frozenset({"sigmoid", "tanh", "relu", "softmax"})))
