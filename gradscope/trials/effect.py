"""Effect: how much better a treated program is than the same program as it was, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from gradscope.trials.printed import Measure
from gradscope.verdict import finite_or_text

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""0.975 quantiles of Student's t with 1, 2 ... 15 degrees of freedom."""
WORTH = 0.02
"""A gain below this share of what it is compared with is no effect, however steady it is."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Paired differences. control, treated: what was measured, by seed; seeds that both have are compared.

    ratio: whether that is done by ratios instead (comparable_by_ratio).
    """

    measure: Measure
    control: Mapping[int, float]
    treated: Mapping[int, float]
    ratio: bool = False

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that were compared."""
        return tuple(s for s in self.control if s in self.treated)

    @property
    def gains(self) -> tuple[float, ...]:
        """Of each seed how much better the treated program was: the difference, or the logarithm of the ratio."""
        scale = self._log if self.ratio else float
        return tuple(self.measure.gain(scale(self.control[s]), scale(self.treated[s])) for s in self.seeds)

    @property
    def gain(self) -> float:
        """Their mean; infinite where only one of the two gave a number at all."""
        return _mean(self.gains)

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean over seeds (Student); None with one seed, where one gain is infinite, and where
        all are the same: then seeds say nothing of chance."""
        gains = self.gains
        if len(set(gains)) < 2 or not all(map(math.isfinite, gains)):
            return None
        quantile = STUDENT[len(gains) - 2] if len(gains) - 2 < len(STUDENT) else 1.96
        half = quantile * stdev(gains) / math.sqrt(len(gains))
        return fmean(gains) - half, fmean(gains) + half

    @property
    def better(self) -> bool:
        """Better with every seed, and by more than noise."""
        return bool(self.gains) and min(self.gains) > self.noise

    @property
    def worse(self) -> bool:
        """Worse with every seed, by as much."""
        return bool(self.gains) and max(self.gains) < -self.noise

    @property
    def noise(self) -> float:
        """A gain that is no larger is none: half of the deviation between seeds of the control, and WORTH of it."""
        scale = self._log if self.ratio else float
        values = [scale(v) for v in self.control.values() if math.isfinite(v)]
        if not values:
            return 0.0
        worth = WORTH if self.ratio else WORTH * abs(fmean(values))
        return max(worth, (stdev(values) if len(values) > 1 else 0.0) / 2)

    def _log(self, value: float) -> float:
        """The logarithm; of what is printed as zero, that of a millionth of the control."""
        if not math.isfinite(value):
            return value
        floor = 1e-6 * min((v for v in self.control.values() if math.isfinite(v)), default=1.0)
        return math.log(max(value, floor))

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        interval = self.interval()
        return {
            "measure": self.measure.as_dict(),
            "seeds": list(self.seeds),
            "control": [finite_or_text(self.control[s]) for s in self.seeds],
            "treated": [finite_or_text(self.treated[s]) for s in self.seeds],
            "gain": finite_or_text(self.gain),
            "scale": "log ratio" if self.ratio else "difference",
            "interval": None if interval is None else list(interval),
        }


def comparable_by_ratio(measure: Measure, control: Iterable[float], treated: Iterable[float]) -> bool:
    """Whether arms are compared by ratios: numbers above zero of which less is better, such as errors. They may differ
    by orders of magnitude, of which differences would see the largest alone."""
    base, others = ([v for v in x if math.isfinite(v)] for x in (control, treated))
    return not measure.higher and all(v > 0 for v in base) and all(v >= 0 for v in others)


def _mean(values: tuple[float, ...]) -> float:
    if not values:
        return math.nan
    infinite = [v for v in values if math.isinf(v)]
    if infinite:
        return infinite[0] if len(set(infinite)) == 1 else 0.0
    return fmean(values)
