"""Bundles of programs that really failed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.torch.bundle.programs import PROGRAMS

DRIVER = """
import json, os, runpy, sys
for folder in json.loads(sys.argv[1]):
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.modules.pop("model", None)
    runpy.run_path("train.py")
    sys.path.remove(folder)
"""
REPLAYER = """
import contextlib, io, json, os, sys
from gradscope_cli.replay import command
for folder, spec in json.loads(sys.argv[1]):
    os.chdir(folder)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        command(["bundle", spec, "--format", "json"])
    print(said.getvalue().replace(chr(10), " "))
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """name -> the folder that a program was trained in, with what it saved."""
    root = tmp_path_factory.mktemp("trained")
    folders = {name: root / str(at) for at, name in enumerate(PROGRAMS)}
    for name, folder in folders.items():
        folder.mkdir()
        (folder / "model.py").write_text(PROGRAMS[name].model)
        (folder / "train.py").write_text(PROGRAMS[name].train)
    words = [sys.executable, "-c", DRIVER, json.dumps([str(f) for f in folders.values()])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert not done.returncode, done.stderr
    return folders


@pytest.fixture(scope="session")
def replays(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """name -> what the replay of its bundle says, in another process and folder than it was saved in."""
    root = tmp_path_factory.mktemp("elsewhere")
    folders = {name: moved(trained[name], root / str(at)) for at, name in enumerate(PROGRAMS)}
    tasks = [(str(folders[name]), program.spec) for name, program in PROGRAMS.items()]
    words = [sys.executable, "-c", REPLAYER, json.dumps(tasks)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert not done.returncode, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(tasks), done.stderr
    return {
        name: json.loads(line or "{}") | {"stderr": done.stderr} for name, line in zip(PROGRAMS, lines, strict=True)
    }


def moved(folder: Path, target: Path) -> Path:
    """Copies a bundle, and model.py alone, to another folder, and gives that."""
    (saved,) = (folder / "saved").iterdir()
    shutil.copytree(saved, target / "bundle")
    shutil.copy(folder / "model.py", target)
    return target


@pytest.fixture
def elsewhere(trained: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copies the bundle of a program, and its model.py alone, to another folder, and gives that."""
    return lambda name: moved(trained[name], tmp_path / "there")


def replay(folder: Path, spec: str = "model.py", *options: str) -> subprocess.CompletedProcess[str]:
    """gradscope replay bundle SPEC, in a process of its own."""
    words = [sys.executable, "-m", "gradscope_cli", "replay", "bundle", spec, *options]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def replayed(folder: Path, spec: str = "model.py", *options: str) -> dict[str, Any]:
    """What the replay says, as data."""
    done = replay(folder, spec, "--format", "json", *options)
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"code": done.returncode}
