"""Printed: the numbers that a program prints by name, and of which of them more is better."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gradscope.errors import UsageError

NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)"
NAMED = re.compile(
    rf"""([A-Za-z_][\w@/.\-]*)["']?\s*\)?\s*(?:[:=]|\bis\b|\bof\b|->)?\s*[(\[]?\s*(?<![\w.])({NUMBER})(?!\.?\w)(?!/\d)(\s*%)?""",
    re.I,
)
"""A name and the number behind it; not `9888/10000`, nor the `1` of `v1.2`."""
HIGHER = ("accuracy", "acc", "r2", "score", "auc", "auroc", "f1", "precision", "recall", "iou", "dice", "bleu", "map")
LOWER = ("loss", "error", "err", "mae", "mse", "rmse", "mape", "nll", "perplexity", "ppl", "wer", "cer", "bpc")
OUTSIDE = ("metric", "test", "val", "valid", "validation", "held", "eval", "dev", "final")
"""Words of what was measured on other data than that of the training."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number by which arms are compared. higher: whether more is better."""

    name: str
    higher: bool
    occurrence: str = "printed"
    """printed: by the program. held-out, training: computed on a workload's batches, or at the losses of a script."""

    def gain(self, control: float, treated: float) -> float:
        """How much better the treated one is: negative when it is worse. What is not finite is worst of all."""
        sound = math.isfinite(control), math.isfinite(treated)
        if not all(sound):
            return math.inf if sound[1] else (-math.inf if sound[0] else 0.0)
        return treated - control if self.higher else control - treated

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {"name": self.name, "better": "higher" if self.higher else "lower", "of": self.occurrence}


def numbers_in(text: str) -> dict[str, float]:
    """The last number that was printed by each name, "test accuracy 0.93" by "accuracy" as well as "test accuracy"."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        words: list[str] = []
        for match in NAMED.finditer(line):
            word = match[1].lower().strip("-./")
            before = line[: match.start()].split()
            words = [w.lower().strip(":,()=-") for w in before[-2:] if re.fullmatch(r"[A-Za-z_]+[:,]?", w)]
            for name in {word, " ".join([*words, word]), " ".join([*words[-1:], word])}:
                found.pop(name, None)
                found[name] = float(match[2].replace(",", ""))
    return found


def direction(name: str) -> bool | None:
    """Whether more of it is better, told by its words; None when they do not tell."""
    words = [*re.split(r"[^a-z0-9]+", name.lower()), name.lower().replace("_", "")]
    words += [w.rstrip("0123456789") for w in words]
    if any(w in LOWER for w in words):
        return False
    return True if any(w in HIGHER for w in words) or "r2" in name.lower() else None


def chosen(numbers: Mapping[str, float], wanted: str | None = None, *, higher: bool | None = None) -> Measure | None:
    """The measure of a program, by what it printed: the one that is wanted, or the best that its names tell.

    Measured on other data goes before the rest, an accuracy before a loss, what was printed last before what came
    earlier. None when no name tells. Raises UsageError when what is wanted was not printed, or its direction is not
    known.
    """
    if wanted is not None:
        name = wanted.lower()
        if name not in numbers:
            raise UsageError(f"--metric {wanted!r}: the program printed no such number; it printed: {named(numbers)}")
        told = direction(name) if higher is None else higher
        if told is None:
            raise UsageError(f"--metric {wanted!r}: say --higher or --lower, whichever is better")
        return Measure(name, told)
    known = [(at, name, d) for at, name in enumerate(numbers) if (d := direction(name)) is not None]
    if not known:
        return None
    _, _, _, name, told = max((outside(name), "loss" not in name, at, name, d) for at, name, d in known)
    return Measure(name, told)


def outside(name: str) -> bool:
    """Whether it was measured on other data than that of the training, as far as its words tell."""
    return any(w in OUTSIDE for w in re.split(r"[^a-z]+", name))


def named(numbers: Mapping[str, float]) -> str:
    """The names, for a message."""
    return ", ".join(sorted(numbers)) or "no number with a name"
