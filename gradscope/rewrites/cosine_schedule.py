"""cosine-schedule."""

from __future__ import annotations

from gradscope.program.schedules import scheduled
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def cosine_schedule(source: Source, site: Site) -> Source:
    """The learning rate along half a cosine, from what it is down."""
    steps = round(site.number("steps"))
    return scheduled(source, f"CosineAnnealingLR(T_max={steps})", f"CosineDecay({{rate}}, {steps}, alpha=0.1)")
