"""`gradscope replay`: what it prints, writes and ends with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import gradscope as package
import torch
from torch import nn

from gradscope_torch.bundle.writing import digest_of
from tests.cli.programs import gradscope

MODEL = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 2)
        print("built")

    def forward(self, x):
        return self.line(x).log()
"""


class Net(nn.Module):
    """As in MODEL."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of negative numbers too."""
        return self.line(x).log()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle."""
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with package.watch(net, optimizer, on_nonfinite_save=folder) as scope:
        net(torch.randn(5, 4)).sum().backward()
        optimizer.step()
    assert not scope.failures, scope.failures
    return folder / "step-000000"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """MODEL in a file."""
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path / "model.py"


def test_text_names_the_origin_and_ends_with_1(saved: Path, model: Path) -> None:
    result = gradscope("replay", str(saved), str(model))
    assert result.exit_code == 1, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "built"
    assert lines[1] == (
        f"NOT FINITE: first values that are not finite, made by log in the forward pass (step 0 of {saved})"
    )
    assert lines[2] == f"  where     (Net) at {model}:12"
    assert lines[3].startswith("  origin    reason log")
    assert lines[-1].startswith("  saved as  the same origin at ")
    assert lines[-1].endswith("test_replay.py:46")


def test_json_alone_is_on_stdout(saved: Path, model: Path) -> None:
    result = gradscope("replay", str(saved), f"{model}::Net", "--format", "json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert result.stderr == "built\n"
    assert found["same"] is True
    assert found["finite"] is False
    assert found["step"] == 0
    assert found["origin"]["op"] == found["saved_origin"]["op"] == "log"
    assert set(found["origin"]) == set(found["saved_origin"])


def test_quiet_silences_the_file(saved: Path, model: Path) -> None:
    assert "built" not in gradscope("replay", str(saved), str(model), "--quiet").stdout


def test_the_result_can_be_written_to_a_file(saved: Path, model: Path) -> None:
    out = model.parent / "out.json"
    result = gradscope("replay", str(saved), str(model), "--format", "json", "-o", str(out))
    assert (result.exit_code, result.stdout) == (1, "built\n")
    assert json.loads(out.read_text())["same"] is True


def test_a_mended_model_ends_with_0(saved: Path, model: Path) -> None:
    model.write_text(MODEL.replace(".log()", ".abs().log1p()"))
    result = gradscope("replay", str(saved), str(model), "--quiet")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("FINITE: the loss and all gradients are finite with this model")
    assert "saved as  not finite: phase 'forward', op 'log', module_class" not in result.stdout
    assert "saved as  not finite: phase 'forward', op 'log'" in result.stdout


WRONG = {
    "no bundle": (["nowhere", "model.py"], "nowhere: no such folder; expected a bundle"),
    "a file for a bundle": (["model.py", "model.py"], "model.py: is a file; expected a bundle"),
    "no file": (["bundle", "none.py"], "none.py: no such file; Python files there: model.py"),
    "no class": (["bundle", "model.py::Nat"], "model.py: defines no 'Nat'; models there: Net"),
    "no name": (["bundle", "model.py::"], "'model.py::': expected FILE.py::CLASS"),
    "a name that is none": (["bundle", "model.py::a-b"], "'model.py::a-b': expected FILE.py::CLASS"),
    "an output that cannot be": (["bundle", "model.py", "-o", "x/y.txt"], "--output x/y.txt: there is no folder"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_one_message_and_ends_with_2(
    what: str, saved: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    shutil.copytree(saved, model.parent / "bundle")
    arguments, message = WRONG[what]
    result = gradscope("replay", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"gradscope: {message}"), result.stderr
    assert "Traceback" not in result.stderr


def test_missing_arguments_and_unknown_formats_end_with_2(saved: Path, model: Path) -> None:
    assert gradscope("replay").exit_code == 2
    assert gradscope("replay", str(saved)).exit_code == 2
    assert gradscope("replay", str(saved), str(model), "--format", "xml").exit_code == 2


def test_a_model_that_does_not_fit_ends_with_2(saved: Path, model: Path) -> None:
    model.write_text(MODEL.replace("4, 2", "4, 3").replace("import nn", "import nn\nprint('run')"))
    result = gradscope("replay", str(saved), str(model))
    assert result.exit_code == 2
    assert "of another shape: line.weight: [2, 4] in the bundle, [3, 4] in the model; line.bias" in result.stderr


def test_a_model_that_raises_ends_with_2_and_its_frames(saved: Path, model: Path) -> None:
    model.write_text(MODEL.replace(".log()", ".lag()"))
    result = gradscope("replay", str(saved), str(model))
    assert result.exit_code == 2
    assert "AttributeError: 'Tensor' object has no attribute 'lag'" in result.stderr
    assert f'File "{model}", line 12' in result.stderr


def test_an_altered_bundle_ends_with_2_and_the_file_is_not_run(saved: Path, model: Path) -> None:
    shutil.copytree(saved, model.parent / "bundle")
    held = bytearray((model.parent / "bundle" / "weights.safetensors").read_bytes())
    held[-1] ^= 1
    (model.parent / "bundle" / "weights.safetensors").write_bytes(held)
    result = gradscope("replay", str(model.parent / "bundle"), str(model))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("weights.safetensors: its checksum differs: it was altered after it was written\n")


def test_what_a_stranger_wrote_cannot_move_the_cursor(saved: Path, model: Path) -> None:
    shutil.copytree(saved, model.parent / "bundle")
    index = json.loads((saved / "bundle.json").read_text())
    index["origin"]["source"] = "\x1b[2J\x1b[31mall is well"
    index["missing"] = ["\x1b]0;title\x07", "a\rb"]
    index["sha256"] = digest_of(index)
    (model.parent / "bundle" / "bundle.json").write_text(json.dumps(index))
    result = gradscope("replay", str(model.parent / "bundle"), str(model), "--quiet")
    assert result.exit_code == 1, result.stderr
    assert not set("\x1b\x07\r") & set(result.stdout)


def test_the_command_runs_in_a_process_of_its_own(saved: Path, model: Path) -> None:
    words = [sys.executable, "-m", "gradscope_cli", "replay", str(saved), "model.py"]
    done = subprocess.run(words, cwd=model.parent, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "made by log in the forward pass" in done.stdout


def test_help_teaches_codes_and_forms() -> None:
    page = gradscope("replay", "--help").stdout
    assert "model.py::NAME" in page
    assert "2  the bundle cannot be read or does not fit the model" in page
    assert "replay" in gradscope("--help").stdout


def test_a_replay_that_brings_its_process_down_is_told(saved: Path, model: Path) -> None:
    model.write_text(MODEL.replace("print(", "import os; os.abort(); print("))
    result = gradscope("replay", str(saved), str(model))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        f"gradscope: {saved}: running its step again with {model} brought the process down (SIGABRT)"
    )
