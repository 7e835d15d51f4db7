"""Recipe: how a workload is stepped. The same switches in the trainer of every framework."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], float]
"""Factor of the learning rate, by number of the step (from 0)."""
SMALLEST_NORM = 1e-3
"""Norm that a unit's weights are taken to have at least where clip_adaptive compares: Brock et al. (2021)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What stands between a batch and a step. Everything is off by default.

    schedule: factor of the learning rate, by number of the step (from 0).
    clip_norm: global norm that all gradients together are scaled down to. clip_value: bound of each entry.
    clip_adaptive: bound of gradient norm / parameter norm of each unit (Brock et al. 2021, arXiv:2102.06171).
    l1, l2: penalties l1 x sum |w| and l2 / 2 x sum w^2, added to the loss as their gradients, of weights with more than
    one dimension. decay: each of those weights is multiplied by 1 - rate x decay before the step (decoupled, Loshchilov
    & Hutter 2019).
    accumulate: how many batches make one step, whose gradients are averaged; a function of the step's number for
    batches that grow. full_batch: all batches of one pass make one step.
    Order: average, penalties, clip_value, clip_adaptive, clip_norm, decay, step.
    """

    schedule: Schedule | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    clip_adaptive: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    decay: float = 0.0
    accumulate: int | Callable[[int], int] = 1
    full_batch: bool = False

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied with in a step."""
        return 1.0 if self.schedule is None else float(self.schedule(step))

    def count(self, step: int) -> int:
        """How many batches make a step, one at least."""
        return max(1, int(self.accumulate(step) if callable(self.accumulate) else self.accumulate))

    @property
    def changes_gradients(self) -> bool:
        """Whether gradients are anything but averaged before the step."""
        limits = (self.clip_norm, self.clip_value, self.clip_adaptive)
        return bool(self.l1 or self.l2) or any(limit is not None for limit in limits)


def constant(factor: float) -> Schedule:
    """The same factor in every step."""
    return lambda _step: factor


def warm_up(steps: int) -> Schedule:
    """From 1 / steps in step 0 to 1 in step `steps` - 1, in equal parts, and 1 from then on (Goyal et al. 2017)."""
    return lambda step: min(1.0, (step + 1) / steps)


def cosine(steps: int) -> Schedule:
    """(1 + cos(pi x step / steps)) / 2: from 1 to 0 in step `steps`, and 0 from then on (Loshchilov & Hutter 2017)."""
    return lambda step: (1 + math.cos(math.pi * min(1.0, step / steps))) / 2


def product(first: Schedule | None, second: Schedule) -> Schedule:
    """Both factors together."""
    return second if first is None else lambda step: first(step) * second(step)
