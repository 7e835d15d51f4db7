"""Materials: remedies that change the batches of a workload, and what is measured of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from gradscope.errors import CannotApply
from gradscope.regimen import Settings, first_pair
from gradscope.workload import Workload, pairs

MOST = 1000
"""So many batches are looked at, should they never end."""
Pair = tuple[Any, Any]


def one_pass(workload: Workload, remedy: str) -> list[Pair]:
    """All batches, where both of a pair are tensors. Raises CannotApply where they are not, or never end."""
    first_pair(workload, remedy)
    found = list(islice(pairs(workload.batches), MOST + 1))
    if len(found) > MOST:
        raise CannotApply(f"{remedy}: there are more than {MOST} batches")
    if not all(isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) for x, y in found):
        raise CannotApply(f"{remedy}: inputs and targets must be tensors")
    return found


def moments(workload: Workload, remedy: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, deviation) of each feature of [N, F], or each channel of images, over the batches; deviations of zero are
    one. What is not finite is left out."""
    inputs = [x for x, _ in one_pass(workload, remedy)]
    dims = [0, *range(2, inputs[0].ndim)]
    x = torch.cat([i.transpose(0, 1).reshape(i.shape[1], -1) if i.ndim > 1 else i[None] for i in inputs], 1).double()
    x = torch.where(torch.isfinite(x), x, torch.nan)
    mean = x.nanmean(1)
    deviation = (x - mean[:, None]).square().nanmean(1).sqrt()
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    shape = [1 if d in dims else n for d, n in enumerate(inputs[0].shape)]
    dtype = inputs[0].dtype
    return mean.nan_to_num(0.0).to(dtype).reshape(shape), deviation.nan_to_num(1.0).to(dtype).reshape(shape)


def shuffled(workload: Workload, _settings: Settings) -> Workload:
    """shuffle-data: batches of the same size, drawn anew in each pass from the random stream of torch."""
    found = one_pass(workload, "shuffle-data")
    try:
        x, y = torch.cat([x for x, _ in found]), torch.cat([y for _, y in found])
    except RuntimeError as error:
        raise CannotApply(f"shuffle-data: the batches do not join: {error}") from error
    size = len(found[0][0])

    def batches() -> Iterator[Pair]:
        for chosen in torch.randperm(len(x)).to(x.device).split(size):
            yield x[chosen], y[chosen]

    return replace(workload, batches=batches)


def cleaned(workload: Workload, _settings: Settings) -> Workload:
    """check-data: the batches without samples that hold NaN or Inf. Raises CannotApply where none does."""
    found = one_pass(workload, "check-data")
    kept = [sound(x) & sound(y) for x, y in found]
    if all(bool(k.all()) for k in kept):
        raise CannotApply("check-data: every number of the batches is finite")
    batches = [(x[k], y[k]) for (x, y), k in zip(found, kept, strict=True) if bool(k.any())]
    return replace(workload, batches=batches)


def sound(values: torch.Tensor) -> torch.Tensor:
    """Which samples hold finite numbers alone, shape [N]."""
    finite = torch.isfinite(values)
    return finite.reshape(len(values), -1).all(1)
