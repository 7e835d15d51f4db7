"""Regimen: the remedies that change how a workload is stepped, and nothing else; the same for every framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from gradscope.errors import CannotApply
from gradscope.recipe import Recipe, Schedule, constant, cosine, product, warm_up
from gradscope.workload import Workload, pairs

Settings = Mapping[str, Any]
Apply = Callable[[Workload, Settings], Workload]

WINDOW = 10
"""So many steps make one mean of the loss, where a plateau is looked for."""
BETTER = 1e-4
"""Relative fall of the loss that is no plateau."""


def setting(remedy: str, settings: Settings, name: str, *, least: float = 0.0) -> float:
    """A number among the settings, above `least`. Raises CannotApply."""
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > least:
        raise CannotApply(f"{remedy}: needs {name} as a number above {least:g}, got {value!r}")
    return float(value)


def first_pair(workload: Workload, remedy: str) -> tuple[Any, Any]:
    """The first batch. Raises CannotApply where looking would use it up, or there is none."""
    source = workload.batches() if callable(workload.batches) else workload.batches
    if iter(source) is source and not callable(workload.batches):
        raise CannotApply(
            f"{remedy}: batches is an iterator that a look at them would use up; give a list or a function"
        )
    found = next(pairs(source), None)
    if found is None:
        raise CannotApply(f"{remedy}: there is no batch to look at")
    return found


def with_recipe(workload: Workload, **changes: Any) -> Workload:
    """The workload stepped in another way."""
    return replace(workload, recipe=replace(workload.recipe, **changes))


def scheduled(workload: Workload, schedule: Schedule) -> Workload:
    """One more factor of the learning rate."""
    return with_recipe(workload, schedule=product(workload.recipe.schedule, schedule))


def limited(workload: Workload, settings: Settings, *, remedy: str, switch: str, name: str) -> Workload:
    """A switch of the recipe set to a number above zero."""
    return with_recipe(workload, **{switch: setting(remedy, settings, name)})


def loosened(workload: Workload, settings: Settings) -> Workload:
    """Clipping at a larger norm. Raises CannotApply where the recipe does not clip."""
    limit, present = setting("loosen-clipping", settings, "max_norm"), workload.recipe.clip_norm
    if present is None:
        raise CannotApply("loosen-clipping: the recipe of this workload clips no norm")
    if limit <= present:
        raise CannotApply(f"loosen-clipping: the recipe clips at {present:g}, which is no less than {limit:g}")
    return with_recipe(workload, clip_norm=limit)


def rated(workload: Workload, settings: Settings, *, remedy: str, lower: bool) -> Workload:
    """The learning rate times a factor: below one where it is lowered, above one where it is raised."""
    factor = setting(remedy, settings, "factor")
    if (factor < 1) is not lower or factor == 1:
        raise CannotApply(f"{remedy}: factor must be {'below' if lower else 'above'} 1, got {factor:g}")
    return scheduled(workload, constant(factor))


def timed(workload: Workload, settings: Settings, *, remedy: str, schedule: Callable[[int], Schedule]) -> Workload:
    """A schedule that takes a number of steps."""
    return scheduled(workload, schedule(int(setting(remedy, settings, "steps"))))


def accumulated(workload: Workload, settings: Settings, *, remedy: str) -> Workload:
    """So many times as many batches for one step."""
    times, recipe = int(setting(remedy, settings, "accumulate", least=1)), stepped(workload, remedy)
    return with_recipe(workload, accumulate=lambda step: times * recipe.count(step))


def grown(workload: Workload, settings: Settings) -> Workload:
    """Twice as many batches for a step after every so many steps, until it is `accumulate` times as many."""
    times = int(setting("growing-batch", settings, "accumulate", least=1))
    every = int(setting("growing-batch", settings, "every"))
    recipe = stepped(workload, "growing-batch")
    return with_recipe(workload, accumulate=lambda step: min(times, 2 ** min(step // every, 30)) * recipe.count(step))


def whole(workload: Workload, _settings: Settings) -> Workload:
    """All batches of one pass for one step."""
    stepped(workload, "full-batch")
    return with_recipe(workload, full_batch=True, accumulate=Recipe().accumulate)


def stepped(workload: Workload, remedy: str) -> Recipe:
    """The recipe of a workload whose steps take some of the batches. Raises CannotApply where they take all."""
    if workload.recipe.full_batch:
        raise CannotApply(f"{remedy}: a step takes all batches already")
    return workload.recipe


class Plateau:
    """Factor of the learning rate that shrinks each time the mean of the loss over WINDOW steps has not fallen for
    `patience` such means. It starts anew with step 0; note() takes the first loss after each step."""

    def __init__(self, factor: float, patience: int):
        self.factor, self.patience = factor, patience
        self._restart()

    def _restart(self) -> None:
        self._now, self._best, self._bad = 1.0, np.inf, 0
        self._losses: list[float] = []
        self._waits = False

    def note(self, loss: Any) -> None:
        """Takes a loss: an array of the host, or what numpy makes one of."""
        if self._waits:
            self._losses.append(float(np.mean(np.asarray(loss, "f8"))))
            self._waits = False

    def __call__(self, step: int) -> float:
        """The factor of a step."""
        if step == 0:
            self._restart()
        self._waits = True
        if len(self._losses) >= WINDOW:
            self._close(float(np.mean(self._losses)))
        return self._now

    def _close(self, mean: float) -> None:
        self._losses.clear()
        if mean < self._best - BETTER * abs(self._best) or self._best == np.inf:
            self._best, self._bad = mean, 0
            return
        self._bad += 1
        if self._bad >= self.patience:
            self._now, self._bad = self._now * self.factor, 0


def calmed(
    workload: Workload, settings: Settings, watched: Callable[[Workload, Callable[[Any], None]], Workload]
) -> Workload:
    """reduce-on-plateau. watched: gives a workload whose loss function hands each loss, on the host, to a function."""
    factor = setting("reduce-on-plateau", settings, "factor")
    plateau = Plateau(factor, int(setting("reduce-on-plateau", settings, "patience")))
    return scheduled(watched(workload, plateau.note), plateau)


STEPPING: dict[str, Apply] = {
    "clip-gradient-norm": partial(limited, remedy="clip-gradient-norm", switch="clip_norm", name="max_norm"),
    "clip-gradient-value": partial(limited, remedy="clip-gradient-value", switch="clip_value", name="max_value"),
    "adaptive-clipping": partial(limited, remedy="adaptive-clipping", switch="clip_adaptive", name="limit"),
    "loosen-clipping": loosened,
    "weight-decay": partial(limited, remedy="weight-decay", switch="decay", name="decay"),
    "l2-penalty": partial(limited, remedy="l2-penalty", switch="l2", name="l2"),
    "l1-penalty": partial(limited, remedy="l1-penalty", switch="l1", name="l1"),
    "lower-learning-rate": partial(rated, remedy="lower-learning-rate", lower=True),
    "raise-learning-rate": partial(rated, remedy="raise-learning-rate", lower=False),
    "warm-up": partial(timed, remedy="warm-up", schedule=warm_up),
    "cosine-schedule": partial(timed, remedy="cosine-schedule", schedule=cosine),
    "larger-batch": partial(accumulated, remedy="larger-batch"),
    "accumulate-gradients": partial(accumulated, remedy="accumulate-gradients"),
    "growing-batch": grown,
    "full-batch": whole,
}
"""Remedy, by the name of its file in gradscope/remedies -> how the recipe applies it."""

ONLY_TOLD = {
    "add-epsilon": "the operation that is not finite stands in the program's own code",
    "add-zero-grad": "the trainer of a workload clears the gradients before every step",
    "check-labels": "which labels are right, only who knows the data can tell",
    "correct-objective": "what the loss should be, only who wrote it can tell",
    "find-constant-layer": "it looks at the model and changes nothing",
    "repel-outputs": "it needs a loss over pairs, which a workload of inputs and targets has not",
    "smooth-operation": "the operation without a slope stands in the program's own code",
}
"""Remedies that no workload takes, and why."""


def briefly(error: Exception) -> str:
    """The class of an exception and the first line of its text."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def refused(remedy: str, known: Mapping[str, Any], trainer: str) -> CannotApply:
    """What is raised for a remedy that a trainer does not apply."""
    if remedy in ONLY_TOLD:
        return CannotApply(f"{remedy}: {ONLY_TOLD[remedy]}")
    return CannotApply(f"{remedy}: not known to the trainer of {trainer}; it knows {', '.join(sorted(known))}")
