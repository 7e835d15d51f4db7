"""Proves the labels of a corpus by what its programs reach, without gradscope.

    python -m tests.corpus.outcomes [--write] [--only NAME ...] FOLDER ...

Runs every program with SEED 0, 1 and 2. A pair holds when the fixed twin beats the faulty one by MARGIN in each seed; a
healthy program holds when it reaches its bound in each seed. The bounds stand in FOLDER/healthy.json beside cases.json.
Exit status 1 when anything does not hold. --write puts what was measured into both files.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEEDS = (0, 1, 2)
MARGIN = 0.05
"""By which share of the larger of the two the fixed twin has to be better."""
LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Run:
    """What one program printed last, and the processor time it took: a busy machine changes that little."""

    name: str
    value: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the values of a pair, or those of a healthy program and its bound, by seed."""

    file: str
    metric: str
    better: str
    values: tuple[float, ...]
    against: tuple[float, ...]
    healthy: bool
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the label is proven in every seed."""
        margin = 0.0 if self.healthy else MARGIN
        return all(beats(v, a, self.better, margin) for v, a in zip(self.values, self.against, strict=True))

    def __str__(self) -> str:
        """The line of the table."""
        sign = ">" if self.better == "higher" else "<"
        values, against = (" ".join(f"{v:9.4g}" for v in vs) for vs in (self.values, self.against))
        verdict = "holds" if self.holds else "FAILS"
        return f"{verdict}  {self.file:26} {self.metric:22} {values}  {sign} {against}  {self.seconds:5.1f} s"


def beats(value: float, other: float, better: str, margin: float) -> bool:
    """Whether value is better than other by a share margin of the larger one; what is not finite is the worst."""
    if not math.isfinite(value) or not math.isfinite(other):
        return math.isfinite(value)
    gain = value - other if better == "higher" else other - value
    return gain >= margin * max(abs(value), abs(other))


def run(path: Path, seed: int) -> Run:
    """One program's last line, `METRIC name value`. Raises ValueError when it printed none."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SEED": str(seed)}
    start = _children_cpu()
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False
    )
    words = (done.stdout.strip().splitlines() or [""])[-1].split()
    if done.returncode or len(words) != 3 or words[0] != "METRIC":
        raise ValueError(f"{path} with SEED={seed} printed no metric: {(done.stderr or done.stdout).strip()[-500:]}")
    return Run(words[1], float(words[2]), _children_cpu() - start)


def _children_cpu() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def pair(folder: Path, case: dict[str, Any]) -> Row:
    """Both twins over all seeds; writes what was measured into the case."""
    faulty, fixed = ([run(folder / kind / case["file"], s) for s in SEEDS] for kind in ("faulty", "fixed"))
    metric = case["metric"]
    _same_metric(case["file"], metric["name"], faulty + fixed)
    metric["faulty"], metric["fixed"] = _rounded(faulty), _rounded(fixed)
    case["seconds"] = math.ceil(max(r.seconds for r in faulty + fixed))
    values, against = tuple(r.value for r in fixed), tuple(r.value for r in faulty)
    return Row(case["file"], metric["name"], metric["better"], values, against, False, case["seconds"])


def healthy(folder: Path, case: dict[str, Any]) -> Row:
    """One healthy program over all seeds; writes what was measured into the case."""
    runs = [run(folder / "healthy" / case["file"], s) for s in SEEDS]
    metric = case["metric"]
    _same_metric(case["file"], metric["name"], runs)
    metric["values"] = _rounded(runs)
    case["seconds"] = math.ceil(max(r.seconds for r in runs))
    values, bound = tuple(r.value for r in runs), (float(metric["bound"]),) * len(runs)
    return Row(case["file"], metric["name"], metric["better"], values, bound, True, case["seconds"])


def _same_metric(file: str, name: str, runs: list[Run]) -> None:
    if {r.name for r in runs} != {name}:
        raise ValueError(f"{file} printed {sorted({r.name for r in runs})}, its label says {name!r}")


def _rounded(runs: list[Run]) -> list[float | None]:
    """Five significant digits; None for what is not finite, which JSON cannot say."""
    return [float(f"{r.value:.5g}") if math.isfinite(r.value) else None for r in runs]


def rows(folder: Path, only: Sequence[str], write: bool) -> Iterator[Row]:
    """The table of one corpus, line by line as it is measured."""
    for labels, measure in ((folder / "cases.json", pair), (folder / "healthy.json", healthy)):
        if not labels.is_file():
            continue
        cases = json.loads(labels.read_text("utf-8"))
        for case in cases:
            if only and Path(case["file"]).stem not in only:
                continue
            row = measure(folder, case)
            if write:
                labels.write_text(json.dumps(cases, indent=1, allow_nan=False) + "\n", "utf-8")
            yield row


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="these programs alone, without .py")
    parser.add_argument("--write", action="store_true", help="put what was measured into the labels")
    arguments = parser.parse_args()
    failed, proven = 0, 0
    for folder in arguments.folders:
        for row in rows(folder, arguments.only, arguments.write):
            print(row, flush=True)
            failed += not row.holds
            proven += row.holds
    print(f"{proven} hold, {failed} fail")
    sys.exit(1 if failed or not proven else 0)


if __name__ == "__main__":
    main()
