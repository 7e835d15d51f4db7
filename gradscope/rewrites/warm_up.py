"""warm-up."""

from __future__ import annotations

from gradscope.errors import CannotApply
from gradscope.program.schedules import scheduled
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def warm_up(source: Source, site: Site) -> Source:
    """The learning rate from nearly nothing to what it is, in a straight line."""
    if source.framework != "torch":
        raise CannotApply("Keras has no schedule that only warms up: its CosineDecay(warmup_steps=) does both")
    steps = round(site.number("steps"))
    return scheduled(source, "LambdaLR", f"lambda step: min(1.0, (step + 1) / {steps})")
