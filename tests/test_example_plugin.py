"""The plugin in examples/plugin is installed as a stranger would install it, and works."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gradscope
import pytest
from gradscope.errors import CannotApply
from gradscope.plugins import Plugins
from gradscope.recipe import Recipe
from gradscope.treatment import treated
from gradscope.workload import Workload

from tests.specimens import healthy_run, judged, stuck

pytest.importorskip("hatchling")

ROOT = Path(gradscope.__file__).parent.parent
SICK = """
import torch
torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
x, y = torch.randn(64, 8), torch.randn(64, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=3.0)
for _ in range(60):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the plugin into."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(ROOT / "examples" / "plugin", folder / "source")
    words = [
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--quiet",
        "--target",
        folder / "site",
        source,
    ]
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def module(installed: Path, monkeypatch: pytest.MonkeyPatch):
    """The module that was installed."""
    monkeypatch.syspath_prepend(str(installed))
    found = importlib.import_module("gradscope_gentle_start")
    yield found
    sys.modules.pop("gradscope_gentle_start")


def run(installed: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """gradscope, where the plugin is installed."""
    paths = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "gradscope_cli", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )


def test_it_is_listed_where_it_is_installed_and_only_there(installed):
    line = next(x for x in run(installed, "plugins").stdout.splitlines() if x.startswith("plugins"))
    assert "gentle-start" in line
    assert "gentle-start" not in Plugins().names()


def test_a_report_of_a_script_tells_its_remedy_behind_our_own(installed, tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "train.py").write_text(SICK)
    done = run(installed, "check", tmp_path / "train.py", "--format", "json")
    verdict = json.loads(done.stdout)["verdicts"][0]
    assert verdict["severity"] == "error", done.stderr
    names = [r["name"] for r in verdict["remedies"]]
    assert names.index("gentle-start") == len(names) - 1 > 0
    told = verdict["remedies"][-1]
    assert told["settings"]["steps"] == 20
    assert f"max_norm={told['settings']['max_norm']:g}" in told["code"]


def test_its_remedy_is_applied_by_itself(module):
    found = Plugins([("gentle-start", module)])
    (verdict,) = judged(healthy_run(loss=stuck(100)), plugins=found).verdicts
    remedy = verdict.remedies[-1]
    recipe = treated(Workload(None, None, []), remedy, adapter=None).recipe
    assert (recipe.clip_norm, recipe.factor(0), recipe.factor(19)) == (remedy.settings["max_norm"], 0.05, 1)
    with pytest.raises(CannotApply, match="the recipe clips at 2 already"):
        treated(Workload(None, None, [], recipe=Recipe(clip_norm=2.0)), remedy, adapter=None)


def test_it_says_nothing_of_a_consequence(module):
    dead = {"dead_fraction": 1.0, "zero_fraction": {"first: relu": 1.0, "second: relu": 1.0}}
    verdicts = judged(healthy_run(loss=stuck(100), modules=dead), plugins=Plugins([("gentle-start", module)])).verdicts
    told = {v.name: "gentle-start" in {r.name for r in v.remedies} for v in verdicts}
    assert told == {v.name: v.consequence_of is None and v.severity == "error" for v in verdicts}
    assert any(v.consequence_of for v in verdicts)
