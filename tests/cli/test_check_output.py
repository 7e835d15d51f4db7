"""What `gradscope check` prints and where: formats, --quiet, -o, and nothing for terminals when there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Write
from tests.cli.programs import HEALTHY, NO_STEP, STALE, gradscope

NOISY = "import sys\nprint('noise on stdout')\nprint('noise on stderr', file=sys.stderr)\n"
REPORT = {"status", "verdicts", "not_judged", "cannot_judge", "watched", "failures"}
VERDICT = {
    "code",
    "name",
    "severity",
    "summary",
    "module",
    "source",
    "step",
    "objective",
    "consequence_of",
    "evidence",
    "remedies",
}
EVIDENCE = {
    "quantity",
    "value",
    "relation",
    "threshold",
    "step",
    "parameter",
    "module",
    "source",
    "role",
    "detail",
}
REMEDY = {"name", "title", "reason", "code", "reference"}


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-c", "from gradscope_cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_what_the_script_prints_is_let_through(write: Write) -> None:
    result = gradscope("check", write(NOISY + HEALTHY))
    assert result.stdout.startswith("noise on stdout\n")
    assert result.stderr == "noise on stderr\n"


def test_quiet_silences_the_script_and_not_the_report(write: Write) -> None:
    result = gradscope("check", write(NOISY + STALE), "--quiet")
    assert result.exit_code == 1
    assert result.stdout.startswith("ERROR GS012")
    assert result.stderr == ""


def test_quiet_still_says_why_the_script_failed(write: Write) -> None:
    result = gradscope("check", write(NOISY + "raise ValueError('out of disk')\n"), "--quiet")
    assert result.exit_code == 2
    assert "ValueError: out of disk" in result.stderr
    assert "noise" not in result.output


@pytest.mark.parametrize(
    ("text", "status", "code"), [(HEALTHY, "healthy", 0), (STALE, "unhealthy", 1), (NO_STEP, "not-judged", 2)]
)
def test_json_is_one_object_with_the_fields_of_a_report(write: Write, text: str, status: str, code: int) -> None:
    result = gradscope("check", write(NOISY + text), "--quiet", "--format", "json")
    report = json.loads(result.stdout)
    assert (report["status"], result.exit_code, set(report)) == (status, code, REPORT)


def test_json_verdicts_carry_their_fields(write: Write) -> None:
    report = json.loads(gradscope("check", write(STALE), "--format", "json").stdout)
    first = report["verdicts"][0]
    assert (set(first), first["code"], first["name"]) == (VERDICT, "GS012", "stale-gradient")
    assert set(first["evidence"][0]) == EVIDENCE
    assert set(first["remedies"][0]) == REMEDY


def test_json_carries_no_bare_nan(write: Write) -> None:
    sick = STALE.replace("loss.backward()", "(loss / 0 * 0).backward()")
    text = gradscope("check", write(sick), "--format", "json").stdout

    def refuse(constant: str) -> None:
        raise AssertionError(f"bare {constant} in JSON")

    report = json.loads(text, parse_constant=refuse)
    assert "non-finite-loss" in {v["name"] for v in report["verdicts"]}


def test_the_report_goes_to_a_file(write: Write, tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "report.json"
    result = gradscope("check", write(STALE), "--format", "json", "-o", target)
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(target.read_text("utf-8"))["status"] == "unhealthy"


def test_a_report_of_a_failed_script_goes_to_a_file_too(write: Write, tmp_path: Path) -> None:
    target = tmp_path / "report.txt"
    result = gradscope("check", write(STALE + "raise ValueError('out of disk')\n"), "-o", target)
    assert result.exit_code == 2
    assert target.read_text("utf-8").startswith("ERROR GS012")


def test_a_folder_as_output_is_refused_before_anything_runs(write: Write, tmp_path: Path) -> None:
    result = gradscope("check", write(NOISY + HEALTHY), "-o", tmp_path)
    assert result.exit_code == 2
    assert "noise" not in result.output


def test_an_output_that_cannot_be_written_is_a_clear_message(write: Write, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file")
    result = gradscope("check", write(HEALTHY), "-o", tmp_path / "occupied" / "report.txt")
    assert result.exit_code == 2
    assert "gradscope: " in result.stderr
    assert "occupied" in result.stderr


def test_an_unknown_format_is_refused_before_anything_runs(write: Write) -> None:
    result = gradscope("check", write(NOISY + HEALTHY), "--format", "xml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("gradscope: unknown report format 'xml'; known formats: ")
    assert "json" in result.stderr


def test_a_process_without_a_terminal_gets_no_escapes_and_no_progress_bar(write: Write, tmp_path: Path) -> None:
    result = run("check", write(STALE).name, folder=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.startswith("ERROR GS012")
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout


def test_quiet_json_stays_clean_when_the_script_writes_past_python(write: Write, tmp_path: Path) -> None:
    noise = "import os, subprocess\nos.write(1, b'noise of os.write')\nsubprocess.run(['echo', 'noise of a child'])\n"
    result = run("check", write(noise + HEALTHY).name, "--quiet", "--format", "json", folder=tmp_path)
    assert "noise" not in result.stdout
    assert json.loads(result.stdout)["status"] == "healthy"


def test_an_interrupted_process_leaves_without_a_traceback_of_gradscope(write: Write, tmp_path: Path) -> None:
    text = STALE + "    if step == 40:\n        import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"
    result = run("check", write(text).name, folder=tmp_path)
    assert result.returncode not in {0, 1}
    assert "Traceback" not in result.stderr


def test_printing_without_a_flush_keeps_the_order_of_script_and_report(write: Write, tmp_path: Path) -> None:
    result = run("check", write(NOISY + HEALTHY).name, folder=tmp_path)
    assert result.stdout.index("noise on stdout") < result.stdout.index("healthy (20 steps")
