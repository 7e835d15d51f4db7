"""check-data."""

from __future__ import annotations

from gradscope.program.source import Source
from gradscope.rewrites.robust_loss import robust_loss
from gradscope.rewriting import Site, rewrite


@rewrite
def check_data(source: Source, site: Site) -> Source:
    """Which samples are broken is for people to say; a loss that they cannot dominate shows what they cost."""
    return robust_loss.change(source, site)
