"""What watching costs: the step time of several ways to look at gradients, over that of a bare loop.

Every variant trains its own copy of the same model on the same batches; their steps are interleaved in one process, in
an order that is shuffled anew in every round, so that whatever the machine does hits all of them alike. Printed is the
median over rounds of the ratio to the bare step of the same round, and the ratio of the total times, in which the rare
steps with full statistics count too.

    python benchmarks/overhead.py [--framework torch|tensorflow|jax] [--model mlp|gpt|cnn|tiny] [--rounds 300]
                                  [--threads 2] [--clock wall|cpu]
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import CLOCKS, compare

FRAMEWORKS = ("torch", "tensorflow", "jax")


def main() -> None:
    """Prints the table and whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=FRAMEWORKS, default="torch")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--model", choices=("mlp", "gpt", "cnn", "tiny"), action="append")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    bench = import_module(f"benchmarks.overhead_{arguments.framework}")
    bench.set_threads(arguments.threads)
    for name in arguments.model or bench.MODELS:
        found = compare(bench.steps(name), bench.PAIRS, arguments.rounds, bench.SLOW, arguments.clock)
        bench.close()
        print(f"{name}: {bench.MODELS[name].__doc__}")
        for variant, (median, total) in found.items():
            print(f"  {variant:<18} median {median:6.3f}x   total {total:6.3f}x")
        ours = max(median for variant, (median, _) in found.items() if variant in bench.PAIRS and "watch" in variant)
        target = bench.TARGETS[name]
        if bench.LESS_THAN_BY_HAND:
            target = min(target, found["norms by hand"][0] + 0.01)
        print(f"  target: at most {target:.3f}x: {told(ours <= target)}")
        if "first cause" in found:
            cost, limit = found["first cause"][0], bench.FIRST_CAUSE
            print(f"  first cause, over watch without it: {cost:.3f}x; at most {limit}x: {told(cost <= limit)}")
        print()


def told(met: bool) -> str:
    """Whether a target was met."""
    return "met" if met else "MISSED"


if __name__ == "__main__":
    main()
