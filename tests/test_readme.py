"""What the README shows works: every command, the output beside it, and the lines of Python."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradscope
import numpy as np
import pytest

pytest.importorskip("torch")

ROOT = Path(gradscope.__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TRAIN = """
import sys
import torch
torch.manual_seed(0)
x = torch.randn(256, 8)
y = x @ torch.randn(8, 1)
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
rate = float(sys.argv[sys.argv.index("--lr") + 1]) if "--lr" in sys.argv else 0.05
optimizer = torch.optim.SGD(model.parameters(), lr=rate)
for _ in range(100):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
"""
NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
"""


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    """Every gradscope command: those after a prompt, and those at the head of a table's row."""
    prompted = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    rows = re.findall(r"^\| `(gradscope [^`]+)`", README, re.MULTILINE)
    return [c.partition("  #")[0].strip() for c in [*prompted, *rows] if c.startswith("gradscope ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples and the files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "train.py").write_text(TRAIN)
    (folder / "model.py").write_text(NET)
    settings = [b for b in blocks("toml") if "[tool.gradscope]" in b]
    (folder / "pyproject.toml").write_text(settings[0])
    save_a_failure(folder)
    return folder


def save_a_failure(folder: Path) -> None:
    """Trains the net of model.py there, with the README's own line, until a step fails."""
    import torch

    names: dict[str, Any] = {"__name__": "model", "gradscope": gradscope}
    exec(NET, names)
    names["model"] = names["Net"]()
    names["optimizer"] = torch.optim.SGD(names["model"].parameters(), lr=0.01)
    (block,) = [b for b in blocks("python") if "on_nonfinite_save" in b]
    exec(block.replace('"failures"', repr(str(folder / "failures"))), names)
    for step in range(14):
        x = torch.full((2, 28, 28), float("nan") if step == 12 else 0.5)
        names["model"](x).square().mean().backward()
        names["optimizer"].step()
        names["optimizer"].zero_grad()
    names["scope"].close()


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a gradscope command there."""
    words = [sys.executable, "-m", "gradscope_cli", *shlex.split(command)[1:]]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_the_readme_shows_commands() -> None:
    assert len(commands()) >= 6


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_works(command: str, folder: Path) -> None:
    done = run(command, folder)
    sick = ("deep_sigmoid" in command and "remedy" not in command) or "replay" in command
    assert done.returncode == (1 if sick else 0), done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_output_shown_is_the_output(folder: Path) -> None:
    (shown,) = blocks("text")
    printed = run(next(c for c in commands() if "check" in c and "deep_sigmoid" in c), folder).stdout
    at = 0
    for line in shown.splitlines():
        if line.strip() == "...":
            continue
        parts = [NUMBER.sub("<number>", part) for part in line.split("...")]
        found = NUMBER.sub("<number>", printed).find(parts[0], at)
        assert found >= at, line
        at = found


@pytest.mark.parametrize("flag", re.findall(r"`--([a-z-]+) [^`]*`", README))
def test_an_option_of_the_readme_exists(flag: str, folder: Path) -> None:
    pages = run("gradscope check --help", folder).stdout + run("gradscope remedy --help", folder).stdout
    assert f"--{flag}" in pages


def test_the_lines_of_python_work() -> None:
    import torch

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    exec(blocks("python")[0], {"model": model, "optimizer": optimizer})


def test_the_lines_for_jax_work() -> None:
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")

    def loss_fn(params: Any, x: Any, y: Any) -> Any:
        return ((x @ params["w"] - y) ** 2).mean()

    (block,) = [b for b in blocks("python") if "gradscope_jax" in b]
    x = np.random.default_rng(0).normal(size=(64, 32, 8)).astype("f4")
    batches = [(one, one.sum(1)) for one in x]
    names = {"jax": jax, "optax": optax, "params": {"w": np.zeros(8, "f4")}, "loss_fn": loss_fn, "batches": batches}
    exec(block, names)
    assert names["scope"].report().watched["steps"] == 64


@pytest.mark.parametrize("target", re.findall(r"make ([a-z]+)", README))
def test_a_target_of_the_readme_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
