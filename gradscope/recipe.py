"""Recipe: how a workload is stepped. The same switches in the trainer of every framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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

    schedule: Callable[[int], float] | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    clip_adaptive: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    decay: float = 0.0
    accumulate: int | Callable[[int], int] = 1
    full_batch: bool = False
