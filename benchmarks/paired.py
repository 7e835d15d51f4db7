"""Paired times: steps of several variants, interleaved in one process."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Collection, Mapping

Step = Callable[[], None]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""What a step takes: time, or work of all its threads, which other programs on the machine disturb less."""
WARM = 10
"""Steps of every variant before the clock runs."""


def compare(
    steps: Mapping[str, Step], pairs: Mapping[str, str], rounds: int, slow: Collection[str] = (), clock: str = "wall"
) -> dict[str, tuple[float, float]]:
    """Variant -> (median of its ratios to a step of the same round, ratio of total times).

    The step is that of `pairs`, by default that of the first variant. The order is shuffled anew in every round, so
    that whatever the machine does hits all alike; variants in `slow` take part in every eighth round.
    """
    times: dict[str, list[float]] = {k: [] for k in steps}
    ratios: dict[str, list[float]] = {k: [] for k in steps}
    order = list(steps)
    first, read = order[0], CLOCKS[clock]
    shuffle = random.Random(0)
    for _ in range(WARM):
        for step in steps.values():
            step()
    for turn in range(rounds):
        shuffle.shuffle(order)
        now: dict[str, float] = {}
        for variant in order:
            if variant in slow and turn % 8:
                continue
            start = read()
            steps[variant]()
            now[variant] = read() - start
        for variant, spent in now.items():
            times[variant].append(spent)
            ratios[variant].append(spent / now[pairs.get(variant, first)])
    means = {k: statistics.fmean(t) for k, t in times.items()}
    return {k: (statistics.median(ratios[k]), means[k] / means[pairs.get(k, first)]) for k in steps}
