"""Runs `gradscope check` over whole corpora of programs and counts what it got right.

    python -m tests.corpus.runner [--workers 2] [FOLDER ...]

A corpus is a folder with faulty/, fixed/ and healthy/ programs and a cases.json that labels the faulty ones. Without
folders: the project's own, and ../shared/corpus where it exists.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
OWN = HERE / "programs"
JAX = HERE / "jax"
SHARED = HERE.parents[2] / "shared" / "corpus"
LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Case:
    """One program: what kind it is, and which illnesses are a correct first diagnosis of it."""

    path: Path
    kind: str
    illness: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What gradscope said of one program: errors and warnings in order, and its status."""

    case: Case
    status: str
    errors: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def detected(self) -> bool:
        """Whether anything was named at all."""
        return bool(self.names)

    @property
    def named(self) -> bool:
        """Whether a correct illness is among those named."""
        return any(n in self.case.illness for n in self.names)

    @property
    def first(self) -> bool:
        """Whether the first one named is correct."""
        return bool(self.names) and self.names[0] in self.case.illness


def cases_of(folder: Path, labels: Path, healthy: Path, keras: bool = False) -> list[Case]:
    """The cases of one corpus. keras: of the healthy programs only those of Keras, else only the others."""
    labelled = {c["file"]: tuple(c["illness"]) for c in json.loads(labels.read_text("utf-8"))}
    cases = [Case(folder / "faulty" / name, "faulty", illness) for name, illness in sorted(labelled.items())]
    cases += [Case(folder / "fixed" / name, "fixed") for name in sorted(labelled)]
    cases += [Case(p, "healthy") for p in sorted(healthy.glob("*.py")) if p.name.startswith("keras_") == keras]
    return cases


def corpora(folders: Sequence[Path] = ()) -> dict[str, list[Case]]:
    """Corpus name -> its cases."""
    found = {f.name: cases_of(f, f / "cases.json", f / "healthy") for f in folders}
    if folders:
        return found
    found["own"] = cases_of(OWN, OWN / "cases.json", OWN / "healthy")
    if find_spec("jax") is not None:
        found["own/jax"] = cases_of(JAX, JAX / "cases.json", JAX / "healthy")
    if SHARED.is_dir():
        found["shared/torch"] = cases_of(SHARED / "torch", SHARED / "torch" / "cases.json", SHARED / "healthy")
        if find_spec("keras") is not None:
            keras = SHARED / "keras"
            found["shared/keras"] = cases_of(keras, keras / "cases.json", SHARED / "healthy", keras=True)
    return found


def judge(case: Case) -> Outcome:
    """Runs the command on one program, in a process and on a core of its own."""
    command = [sys.executable, "-m", "gradscope_cli", "check", str(case.path), "--quiet", "--format", "json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SEED": "0"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, env=environment, cwd=case.path.parent, check=False
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return Outcome(case, f"no report: {done.stderr.strip()[-300:]}", (), ())
    told = [v for v in report["verdicts"] if v["severity"] != "info"]
    errors = tuple(v["name"] for v in told if v["severity"] == "error")
    return Outcome(case, report["status"], errors, tuple(v["name"] for v in told))


def judge_all(cases: Iterable[Case], workers: int) -> list[Outcome]:
    """All outcomes, in the order of the cases."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(judge, cases))


@dataclass(frozen=True, slots=True)
class Tally:
    """The figures of one corpus."""

    faulty: int
    detected: int
    named: int
    first: int
    sound: int
    false_errors: tuple[str, ...]
    false_warnings: tuple[str, ...]
    not_judged: tuple[str, ...]

    def lines(self) -> list[str]:
        """The figures as text."""
        share = f"{self.detected}/{self.faulty} detected, {self.named}/{self.faulty} correctly named"
        return [
            f"  faulty            {share}, {self.first}/{self.faulty} named first",
            f"  fixed and healthy {len(self.false_errors)}/{self.sound} errors {list(self.false_errors)}",
            f"                    {len(self.false_warnings)}/{self.sound} warnings {list(self.false_warnings)}",
            f"  not judged        {list(self.not_judged)}",
        ]


def tally(outcomes: Sequence[Outcome]) -> Tally:
    """Counts what was right."""
    faulty = [o for o in outcomes if o.case.kind == "faulty"]
    sound = [o for o in outcomes if o.case.kind != "faulty"]
    return Tally(
        len(faulty),
        sum(o.detected for o in faulty),
        sum(o.named for o in faulty),
        sum(o.first for o in faulty),
        len(sound),
        tuple(o.case.path.stem for o in sound if o.errors),
        tuple(o.case.path.stem for o in sound if o.names and not o.errors),
        tuple(o.case.path.stem for o in outcomes if o.status not in {"healthy", "unhealthy"}),
    )


def table(name: str, outcomes: Sequence[Outcome]) -> str:
    """The figures, and a line for each faulty program whose first verdict is not the expected one."""
    lines = [f"corpus {name}: {len(outcomes)} programs", *tally(outcomes).lines()]
    for o in outcomes:
        if o.case.kind == "faulty" and not o.first:
            expected = " or ".join(o.case.illness)
            lines.append(f"    {o.case.path.stem}: expected {expected}, got {list(o.names) or o.status}")
    return "\n".join(lines)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", help="the corpus of that name, such as shared/keras")
    arguments = parser.parse_args()
    for name, cases in corpora(arguments.folders).items():
        if arguments.only not in {None, name}:
            continue
        print(f"corpus {name}: checking {len(cases)} programs ...", flush=True)
        print(table(name, judge_all(cases, arguments.workers)), flush=True)


if __name__ == "__main__":
    main()
