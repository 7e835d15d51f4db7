"""How an example is run: as `python FILE`, and as `gradscope check FILE`, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "articles"
ENVIRONMENT = {
    **os.environ,
    "SEED": "0",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """What `gradscope check` said of an example."""

    code: int
    report: dict[str, Any]
    failure: str

    def names(self) -> list[str]:
        """The errors and warnings, in their order."""
        return [v["name"] for v in self.report["verdicts"] if v["severity"] != "info"]

    def places(self, name: str) -> list[str]:
        """The parameters, or else the modules, of the evidence of a verdict."""
        found = next(v for v in self.report["verdicts"] if v["name"] == name)
        return [e["parameter"] or e["module"] for e in found["evidence"]]

    def line(self, name: str) -> str:
        """The source line that a verdict points at."""
        file, _, at = next(v["source"] for v in self.report["verdicts"] if v["name"] == name).rpartition(":")
        return Path(ROOT, file).read_text().splitlines()[int(at) - 1].strip()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A Python process in the root of the repository."""
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def check(name: str, *options: str) -> Checked:
    """`gradscope check` of an example."""
    done = run("-m", "gradscope_cli", "check", f"examples/articles/{name}.py", "--quiet", "--format", "json", *options)
    assert done.stdout, done.stderr
    return Checked(done.returncode, json.loads(done.stdout), done.stderr)


def score(name: str) -> float:
    """The number in the last line that an example prints, run without observation."""
    done = run(f"examples/articles/{name}.py")
    assert done.returncode == 0, done.stderr
    word, number = done.stdout.splitlines()[-1].split()
    assert word in {"accuracy", "error"}
    return float(number)
