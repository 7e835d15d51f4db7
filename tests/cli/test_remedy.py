"""`gradscope remedy train.py`: a table, JSON, and a patch that applies and heals."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Write
from tests.cli.programs import gradscope
from tests.trials.programs import HEALTHY, TOO_FAST, WORKLOAD


def test_the_best_remedy_is_written_as_a_patch_that_heals(write: Write, monkeypatch) -> None:
    file = write(TOO_FAST)
    monkeypatch.chdir(file.parent)
    subprocess.run(["git", "init", "-q"], check=True)
    arguments = ["--budget", "5m", "--seeds", "2", "--steps", "60", "--only", "lower-learning-rate"]
    result = gradscope("remedy", "train.py", *arguments, "--write-patch", "fix.patch")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].startswith("cures        lower-learning-rate (")
    assert "as a patch: git apply fix.patch" in result.stderr
    assert gradscope("check", "train.py", "--steps", "60", "--quiet").exit_code == 1
    subprocess.run(["git", "apply", "fix.patch"], check=True)
    assert gradscope("check", "train.py", "--steps", "60", "--quiet").exit_code == 0


def test_the_result_is_told_as_json(write: Write) -> None:
    file, output = write(WORKLOAD), Path("out.json")
    output = file.parent / "out.json"
    result = gradscope(
        "remedy",
        file,
        "--budget",
        "5m",
        "--seeds",
        "1",
        "--steps",
        "60",
        "--only",
        "replace-activation",
        "--format",
        "json",
        "-o",
        output,
    )
    assert result.exit_code == 0, result.output
    data = json.loads(output.read_text())
    assert data["status"] == "cured"
    assert data["outcomes"][0]["name"] == "replace-activation"
    assert data["outcomes"][0]["remedies"][0]["risk"]
    assert data["measure"] == {"name": "accuracy", "better": "higher", "of": "held-out"}


def test_a_healthy_program_exits_with_2(write: Write) -> None:
    result = gradscope("remedy", write(HEALTHY), "--steps", "60")
    assert (result.exit_code, result.stdout) == (2, "nothing to try: nothing was found: there is nothing to cure\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.py"], "no such file"),
        (["model.py::Net"], "a class alone has nothing to train on; give the script that trains it"),
        (["train.py", "--budget", "soon"], "--budget 'soon': expected a time such as 60s, 5m or 1h"),
        (["train.py", "--budget", "0s"], "--budget '0s': expected a time such as 60s, 5m or 1h"),
    ],
)
def test_wrong_input_gets_one_clear_message(arguments, message) -> None:
    result = gradscope("remedy", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_git_is_there() -> None:
    assert shutil.which("git")
