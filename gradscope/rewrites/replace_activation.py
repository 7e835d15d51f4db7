"""replace-activation."""

from __future__ import annotations

from gradscope.errors import CannotApply
from gradscope.program.activations import hidden_activations, written
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def replace_activation(source: Source, site: Site) -> Source:
    """Those between layers, all of them; that of the output stays."""
    wanted = str(site.settings.get("activation", "relu"))
    found = hidden_activations(source)
    edits = [source.instead(node, text) for node, text in ((n, written(source, n, wanted)) for n in found) if text]
    if not edits:
        raise CannotApply("no activation between layers is written in this file")
    return source.edited(edits)
