"""Options and [tool.gradscope]: which rules are judged, with which thresholds, and what fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Write
from tests.cli.programs import HEALTHY, STALE, gradscope


def verdicts(*arguments: object) -> list[str]:
    """The names of the verdicts of a check."""
    result = gradscope("check", "--format", "json", "--quiet", *arguments)
    return [v["name"] for v in json.loads(result.stdout)["verdicts"]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--select", "GS012"], {"stale-gradient"}),
        (["--select", "gs012"], {"stale-gradient"}),
        (["--select", "stale-gradient"], {"stale-gradient"}),
        (["--select", "GS0"], {"stale-gradient"}),
        (["--select", "GS012,GS302"], {"stale-gradient", "stalled-loss"}),
        (["--select", "GS012", "--select", "stalled-loss"], {"stale-gradient", "stalled-loss"}),
        (["--select", "GS0", "--ignore", "GS012"], set()),
        (["--ignore", "GS0,GS3"], set()),
        (["--ignore", "stale-gradient, GS3"], set()),
    ],
)
def test_rules_are_chosen_by_prefix_and_by_name(write: Write, options: list[str], expected: set[str]) -> None:
    assert set(verdicts(write(STALE), *options)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--select", "GS999"],
            "gradscope: select: no rule has the code or name 'GS999'; `gradscope rule` lists them all",
        ),
        (["--select="], "gradscope: --select names no rule; expected codes or names by commas, such as --select GS2"),
        (["--select", " , "], "gradscope: --select names no rule"),
        (["--set", "GS201.limit=nan"], "gradscope: oversized-update.limit: expected a finite number, got nan"),
        (["--set", "GS201.limit=-inf"], "gradscope: oversized-update.limit: expected a finite number, got -inf"),
        (["--set", "GS201.limit=-1"], "gradscope: oversized-update.limit: expected a number from 0, got -1.0"),
        (
            ["--ignore", "stale-gradints"],
            "gradscope: ignore: no rule has the code or name 'stale-gradints'; did you mean stale-",
        ),
        (["--set", "GS012.nonsense=1"], "nonsense"),
        (["--set", "GS999.limit=1"], "no rule has the code or name 'GS999'"),
        (["--set", "GS012"], "gradscope: --set 'GS012': expected RULE.threshold=number, such as GS201.limit=0.3"),
        (["--set", "GS012.often=much"], "gradscope: --set 'GS012.often=much': expected RULE.threshold=number"),
        (["--fail-on", "sometimes"], "Invalid value for '--fail-on'"),
        (["--input-shape", "8"], "--input-shape and --classes belong to a model class: FILE.py::CLASS"),
        (["--nonsense"], "No such option"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(write: Write, options: list[str], message: str) -> None:
    result = gradscope("check", write("print('ran')\n" + HEALTHY), *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize(("fail_on", "code"), [("error", 1), ("warning", 1), ("info", 1), ("never", 0)])
def test_fail_on_decides_what_an_error_costs(write: Write, fail_on: str, code: int) -> None:
    assert gradscope("check", write(STALE), "--fail-on", fail_on).exit_code == code


def test_a_warning_fails_only_when_asked_to(write: Write) -> None:
    sick = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 1)
        self.left_over = nn.Linear(4, 1)
    def forward(self, x):
        return self.out(x)
torch.manual_seed(0)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(20):
    x = torch.randn(32, 4)
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), x[:, :1]).backward()
    optimizer.step()
"""
    file = write(sick)
    codes = [gradscope("check", file, "--select", "GS010", "--fail-on", f).exit_code for f in ("error", "warning")]
    assert codes == [0, 1]
    told = gradscope("check", file, "--select", "GS010").stdout.splitlines()[-1]
    assert told.endswith("1 verdict); warnings only, which fail a check with --fail-on warning")


def test_a_threshold_is_set_by_an_option(write: Write) -> None:
    file = write(STALE)
    assert verdicts(file, "--select", "GS012", "--set", "stale-gradient.share=1.1") == []
    assert verdicts(file, "--select", "GS012", "--set", "GS012.share=0.9") == ["stale-gradient"]


# -- pyproject.toml ----------------------------------------------------------------------------------------------------


def configured(tmp_path: Path, text: str) -> None:
    """Writes a pyproject.toml."""
    (tmp_path / "pyproject.toml").write_text(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tool.gradscope]\nselct = ["GS0"]\n', "unknown key 'selct'; known keys: select, ignore, fail-on, steps"),
        ('[tool.gradscope]\nselect = "GS0"\n', "select must be a list of rule codes or names, got 'GS0'"),
        ('[tool.gradscope]\nignore = ["GS9"]\n', "no rule has the code or name 'GS9'"),
        ("[tool.gradscope]\nselect = []\n", "select must name at least one rule, got []; leave it out for all"),
        ("[tool.gradscope.rules.GS201]\nlimit = nan\n", "oversized-update.limit: expected a finite number, got nan"),
        ("[tool.gradscope]\nsteps = 0\n", "steps must be a whole number from 1, got 0"),
        ("[tool.gradscope]\nsteps = true\n", "steps must be a whole number from 1, got True"),
        ('[tool.gradscope]\nfail-on = "always"\n', "fail-on must be one of error, warning, info, never, got 'always'"),
        ("[tool.gradscope]\nfail-on = []\n", "fail-on must be one of error, warning, info, never, got []"),
        ("[tool.gradscope]\nformat = 3\n", "format must be the name of a format, got 3"),
        ('[tool.gradscope]\nformat = "xml"\n', "unknown report format 'xml'"),
        ("[tool.gradscope]\nrules = 3\n", "rules must hold one table per rule"),
        ("[tool.gradscope.rules.GS012]\nnonsense = 3\n", "nonsense"),
        ('[tool.gradscope.rules.GS012]\nshare = "half"\n', "share"),
        ("[tool.gradscope.rules.GS999]\nshare = 3\n", "no rule has the code or name 'GS999'"),
        ("[tool]\ngradscope = 3\n", "expected a table, got 3"),
        ("tool = 3\n", "pyproject.toml"),
        ("[tool.gradscope\n", "not valid TOML"),
    ],
)
def test_broken_settings_are_refused_before_anything_runs(
    write: Write, tmp_path: Path, text: str, message: str
) -> None:
    configured(tmp_path, text)
    result = gradscope("check", write("print('ran')\n" + HEALTHY))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("gradscope: ")
    assert message in result.stderr


def test_broken_settings_name_their_file(write: Write, tmp_path: Path) -> None:
    configured(tmp_path, "[tool.gradscope]\nsteps = 0\n")
    result = gradscope("check", write(HEALTHY))
    assert result.stderr.startswith(f"gradscope: {tmp_path / 'pyproject.toml'} [tool.gradscope]: steps must be")


def test_a_pyproject_that_is_no_text_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe[tool]")
    result = gradscope("check", write(HEALTHY))
    assert result.exit_code == 2
    assert result.stderr.startswith("gradscope: ")


@pytest.mark.parametrize(
    ("text", "code", "found"),
    [
        ("[tool.gradscope.rules.stale-gradient]\nshare = 1.1\n", 0, False),
        ("[tool.gradscope.rules.GS012]\nshare = 0.9\n", 1, True),
        ('[tool.gradscope]\nfail-on = "never"\n', 0, True),
        ('[tool.gradscope]\nfail_on = "never"\n', 0, True),
        ('[tool.gradscope]\nignore = ["GS012"]\n', 0, False),
        ("[tool.other]\nselct = 1\n", 1, True),
    ],
)
def test_settings_of_the_nearest_pyproject_hold(
    write: Write, tmp_path: Path, text: str, code: int, found: bool
) -> None:
    configured(tmp_path, text)
    result = gradscope(
        "check", write(STALE, "deep/er/train.py"), "--ignore", "GS3" if "ignore" not in text else "GS0,GS3"
    )
    assert (result.exit_code, "GS012 stale-gradient" in result.stdout) == (code, found)


def test_steps_and_format_come_from_pyproject(write: Write, tmp_path: Path) -> None:
    configured(tmp_path, '[tool.gradscope]\nsteps = 9\nformat = "json"\n')
    assert json.loads(gradscope("check", write(HEALTHY)).stdout)["watched"]["steps"] == 9


def test_an_option_replaces_what_pyproject_says(write: Write, tmp_path: Path) -> None:
    configured(tmp_path, '[tool.gradscope]\nsteps = 9\nformat = "json"\nselect = ["GS012"]\n')
    result = gradscope("check", write(STALE), "--steps", "11", "--format", "text", "--select", "GS001")
    assert result.stdout.splitlines()[-1] == "healthy (11 steps, 4 parameters, 1 optimizer)"


# -- model classes -----------------------------------------------------------------------------------------------------

MODEL = """\
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    def forward(self, x):
        return self.layers(x)
"""


def test_a_model_class_is_judged_at_initialization(write: Write) -> None:
    result = gradscope("check", f"{write(MODEL, 'model.py')}::Net", "--input-shape", "8", "--classes", "3")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("layer     forward gain  gradient, of the largest\nlayers.0")
    assert "not judged" not in result.stdout


def test_the_json_of_a_cold_check_lists_the_layers(write: Write) -> None:
    result = gradscope("check", f"{write(MODEL, 'model.py')}::Net", "--input-shape", "8", "--format", "json")
    layers = json.loads(result.stdout)["watched"]["layers"]
    assert [row["module"] for row in layers] == ["layers.0", "layers.2"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Net", [], "a model class needs --input-shape, such as --input-shape 1,28,28"),
        ("Net", ["--input-shape", "8,x"], "--input-shape '8,x': expected whole numbers by commas"),
        ("Net", ["--input-shape", "0"], "--input-shape '0': expected whole numbers by commas"),
        ("Net", ["--input-shape", "7"], "Net does not take an input of shape [64, 7]"),
        ("Net", ["--input-shape", "8", "--classes", "4"], "--classes 4: the output has shape [64, 3]"),
        ("Nets", ["--input-shape", "8"], "defines no 'Nets'; classes there: Net"),
        ("not a name", ["--input-shape", "8"], "expected FILE.py::CLASS, such as model.py::Net"),
    ],
)
def test_a_model_class_that_cannot_be_judged_says_why(
    write: Write, name: str, options: list[str], message: str
) -> None:
    result = gradscope("check", f"{write(MODEL, 'model.py')}::{name}", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_model_file_that_fails_shows_its_own_frames(write: Write) -> None:
    file = write("raise ValueError('no weights')\n", "model.py")
    result = gradscope("check", f"{file}::Net", "--input-shape", "8")
    assert result.exit_code == 2
    assert f'File "{file}", line 1' in result.stderr
    assert "ValueError: no weights" in result.stderr
