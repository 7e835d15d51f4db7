"""How often a remedy that was tried cures: `gradscope remedy` on every faulty program of a corpus, judged by the number
that the program itself prints.

    python benchmarks/repair.py [--budget 120] [--jobs 2] [--out results.json] CORPUS ...

CORPUS is a folder with faulty/ and cases.json, whose cases hold that number for the faulty program and for its fixed
twin over seeds 0, 1, 2. A remedy cures a program when with each seed it is better than the faulty one, and on the
average goes at least half of the way to the fixed one. Seeds with which the faulty one gives no number are left out of
its average; where none does, half of the fixed one's number is the bound. Random search over the same remedies is told
beside it: the probability that a cure is among the first k treated programs, where they are drawn at random.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from gradscope.settings import Settings
from gradscope.trials.outcome import Outcome, Result, Trial
from gradscope.trials.plan import Plan
from gradscope.trials.scripts import try_script

HALF = 0.5


def cures(values: dict[int, float], case: dict[str, Any]) -> bool:
    """Whether values by seed are a cure of a case."""
    metric = case["metric"]
    sign = 1.0 if metric["better"] == "higher" else -1.0
    faulty, fixed = ([_worst(v, sign) for v in metric[k]] for k in ("faulty", "fixed"))
    treated = [_worst(values[s], sign) for s in sorted(values)]
    better = all(sign * (values[s] - faulty[s]) > 0 for s in values if s < len(faulty) and math.isfinite(values[s]))
    if not values or not better or not all(map(math.isfinite, treated)):
        return False
    faulty = [v for v in faulty if math.isfinite(v)]
    if not faulty:
        return sign * (sum(treated) / len(treated) - sum(fixed) / len(fixed)) > -HALF * abs(sum(fixed) / len(fixed))
    gap = sign * (sum(fixed) / len(fixed) - sum(faulty) / len(faulty))
    return sign * (sum(treated) / len(treated) - sum(faulty) / len(faulty)) >= HALF * gap


def _worst(value: Any, sign: float) -> float:
    found = float(value) if value is not None else math.nan
    return found if math.isfinite(found) else -sign * math.inf


def judged(outcome: Outcome, case: dict[str, Any], *, seeds: int) -> bool:
    """Whether an outcome cures by the corpus' own number, over all seeds."""
    effect = outcome.effect
    if effect is None or effect.measure.occurrence != "printed":
        return False
    return len(effect.treated) >= seeds and cures(dict(effect.treated), case)


def chance(cured: list[bool], runs: int) -> float:
    """The probability that a cure is among `runs` of these arms, drawn at random without replacement."""
    sick, all_of = cured.count(False), len(cured)
    if not any(cured):
        return 0.0
    return 1 - math.prod((sick - i) / (all_of - i) if sick > i else 0.0 for i in range(min(runs, all_of)))


def told(trial: Trial, case: dict[str, Any], seeds: int) -> dict[str, Any]:
    """The row of one program."""
    tried = [o for o in trial.outcomes if o.result not in {Result.NOT_APPLIED, Result.NOT_TRIED}]
    single = sorted((o for o in tried if len(o.remedies) == 1), key=lambda o: o.place)
    first = [o.effect is not None and cures({0: o.effect.treated.get(0, math.nan)}, case) for o in single]
    return {
        "file": case["file"],
        "top": bool(tried) and judged(tried[0], case, seeds=seeds),
        "three": any(judged(o, case, seeds=seeds) for o in tried[:3]),
        "ours": [any(first[: k + 1]) for k in range(len(first))],
        "random": [chance(first, k + 1) for k in range(len(first))],
        "remedy": tried[0].name if tried else None,
        "result": str(tried[0].result) if tried else trial.cannot,
        "treated": dict(tried[0].effect.treated) if tried and tried[0].effect else {},
        "measure": trial.measure.name if trial.measure else None,
        "seconds": round(trial.seconds),
        "runs": trial.runs,
    }


def main() -> None:
    """Runs the corpora and prints a row for each program, and the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds for each program")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="names of files, by commas")
    parser.add_argument("--out", type=Path, help="write the rows to this file as JSON, as they come")
    options = parser.parse_args()
    rows = []
    for corpus in options.corpora:
        for case in json.loads((corpus / "cases.json").read_text("utf-8")):
            file = corpus / "faulty" / case["file"]
            if options.only and file.stem not in options.only.split(","):
                continue
            plan = Plan(options.budget, options.seeds, options.jobs)
            trial = try_script(file, (), Settings(), plan)
            rows.append(told(trial, case, options.seeds) | {"corpus": corpus.name})
            row = rows[-1]
            mark = "cure " if row["top"] else "third" if row["three"] else "-    "
            what = f"{row['result']!s:<12} {row['remedy']!s:<44} {row['seconds']} s"
            print(f"{mark} {corpus.name}/{file.stem:<28} {what}", flush=True)
            if options.out:
                options.out.write_text(json.dumps(rows, indent=1), "utf-8")
    closing(rows)


def closing(rows: list[dict[str, Any]]) -> None:
    """The shares over all programs."""
    count = len(rows)
    top, three = sum(r["top"] for r in rows), sum(r["three"] for r in rows)
    print(f"\n{count} programs: the top remedy cures {top} ({top / count:.0%}),", end=" ")
    print(f"one of the top three {three} ({three / count:.0%})")
    for k in range(3):
        ours, random = (share(rows, way, k) for way in ("ours", "random"))
        print(f"a cure among the first {k + 1} that are run: our order {ours:.0%}, random order {random:.0%}")


def share(rows: list[dict[str, Any]], way: str, k: int) -> float:
    """Of all programs, those with a cure among the first k + 1."""
    return sum(r[way][min(k, len(r[way]) - 1)] if r[way] else 0.0 for r in rows) / len(rows)


if __name__ == "__main__":
    main()
