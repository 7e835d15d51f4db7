"""How long judging takes, and importing: 1,000 parameters x 10,000 steps, `import gradscope`, `gradscope --help`.

python benchmarks/judging.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import numpy as np
from gradscope.diagnosis import diagnose
from gradscope.history import RUN, History, Subject
from gradscope.plugins import plugins
from gradscope.settings import Settings


def long_run(parameters: int, steps: int) -> History:
    """A healthy run of that size, as watch() records it: norms in every step, the rest in every hundredth."""
    rng = np.random.default_rng(0)
    history = History(framework="numpy", optimizer="SGD", objective="1", settings={})
    traits = {"optimized": True, "elsewhere": False, "trainable": True, "shape": (64, 64), "size": 4096, "matrix": True}
    traits |= {"training": True, "reachable": True, "module_type": "Linear", "library": False}
    for i in range(parameters):
        subject = Subject(f"layers.{i}.weight", f"layers.{i}", "float32", None, traits)
        history["gradient"].add(subject)
        history["parameter"].add(subject)
    for step in range(steps):
        history["gradient"].record(step, {"gradient_norm": rng.lognormal(0, 0.3, parameters)})
        loss = 2.0 * 0.9997**step + 0.05 * rng.random()
        values = {"loss": loss, "loss_nonfinite": 0, "learning_rate": 0.01, "skipped": 0, "carried_over": 0}
        values |= {"cleared_early": 0, "backward_passes": 1, "gradient_cosine": 0.2}
        history["step"].record(step, {k: {RUN: v} for k, v in values.items()})
        if step % 100 == 0:
            full = {"parameter_norm": 1.0, "parameter_deviation": 0.1, "update_norm": 1e-3, "moved_fraction": 1.0}
            history["parameter"].record(step, {k: np.full(parameters, v) for k, v in full.items()} | {"nonfinite": 0})
    return history


def median_s(command: list[str], times: int = 9) -> float:
    """Median wall time of a command."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def main() -> None:
    """Prints the figures beside their targets."""
    history = long_run(1000, 10_000)
    held = sum(t._cells.nbytes + t._steps.nbytes for t in history.tables.values())
    start = time.perf_counter()
    report = diagnose([history], Settings(), plugins())
    print(f"judging 1000 parameters x 10000 steps   {time.perf_counter() - start:.3f} s   (target: under 1 s)")
    print(f"  status {report.status}, history {held / 2**20:.1f} MiB   (bound: 64 MiB)")
    bare = median_s([sys.executable, "-c", "pass"])
    print(f"python -c pass                          {bare:.3f} s")
    python = [sys.executable, "-c"]
    print(f"import gradscope                        {median_s([*python, 'import gradscope']):.3f} s   (0.15 s)")
    print(f"import gradscope, with watch            {median_s([*python, 'import gradscope; gradscope.watch']):.3f} s")
    command = [sys.executable, "-m", "gradscope_cli", "--help"]
    print(f"gradscope --help                        {median_s(command):.3f} s   (0.3 s)")


if __name__ == "__main__":
    main()
