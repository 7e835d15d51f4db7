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
REPORT = {"status", "verdicts", "not_judged", "cannot", "failure", "watched", "failures"}
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
    "origin",
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
REMEDY = {"name", "title", "reason", "code", "reference", "cost", "risk", "settings"}


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-c", "from gradscope_cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def piped(rest: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a shell, with redirections; stderr ends with its exit code."""
    shell = f"{sys.executable} -m gradscope_cli {rest.partition('|')[0].partition('>')[0]}"
    redirected = f"> {rest.partition('>')[2]}" if ">" in rest else ""
    pipe = f"| {rest.partition('|')[2]}" if "|" in rest else ""
    script = f"({shell} {redirected}; echo $? >&2) {pipe}"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


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
    target = tmp_path / "report.json"
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


def test_a_missing_folder_of_the_output_is_refused_before_anything_runs(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    result = gradscope("check", write(NOISY + HEALTHY), "-o", folder / "report.txt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"gradscope: --output {folder / 'report.txt'}: there is no folder {folder}; create it first\n"
    )
    assert not folder.exists()


def test_an_output_that_cannot_be_created_is_refused_before_anything_runs(write: Write) -> None:
    result = gradscope("check", write(NOISY + HEALTHY), "-o", "/proc/report.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("gradscope: --output /proc/report.json: cannot be written there: ")


def test_trying_the_output_leaves_no_file_and_no_change(write: Write, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    failing = tmp_path / "missing.py"
    assert gradscope("check", failing, "-o", tmp_path / "new.txt").exit_code == 2
    assert gradscope("check", failing, "-o", tmp_path / "old.txt").exit_code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.txt"]
    assert (tmp_path / "old.txt").read_text() == "old"


def test_a_report_that_its_file_does_not_take_is_printed(write: Write) -> None:
    result = gradscope("check", write(STALE), "-o", "/dev/full")
    assert result.exit_code == 2
    assert result.stderr == "gradscope: --output /dev/full: could not be written: No space left on device\n"
    assert result.stdout.startswith("ERROR GS012")


def test_a_report_that_stdout_does_not_take_is_a_clear_message(write: Write, tmp_path: Path) -> None:
    done = piped(f"check {write(STALE).name} > /dev/full", tmp_path)
    assert done.stderr == "gradscope: the report could not be written to stdout: No space left on device\n2\n"


@pytest.mark.parametrize("command", ["check train.py", "check train.py --format json", "rule", "plugins"])
def test_a_reader_who_leaves_is_no_error(write: Write, tmp_path: Path, command: str) -> None:
    write(STALE)
    code = piped(f"{command} | head -0", tmp_path).stderr
    assert code in {"0\n", "1\n", "2\n"}
    if command.startswith("check"):
        assert code == "1\n"


@pytest.mark.parametrize("deed", ["sys.stdout.close()", "sys.stdout = sys.stderr = None", "sys.stdout = io.StringIO()"])
def test_a_script_may_do_with_stdout_what_it_wants(write: Write, tmp_path: Path, deed: str) -> None:
    done = run("check", write(STALE + f"import io, sys\n{deed}\n").name, folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("ERROR GS012")


def test_a_script_that_closes_stdout_still_gives_json(write: Write, tmp_path: Path) -> None:
    done = run("check", write(STALE + "import sys\nsys.stdout.close()\n").name, "--format", "json", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["status"] == "unhealthy"


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


NOISE = """\
import atexit, os, subprocess, sys
print('noise of print')
os.write(1, b'noise of os.write\\n')
subprocess.run(['echo', 'noise of a child'])
atexit.register(print, 'noise of atexit')
"""


@pytest.mark.parametrize("options", [["--format", "json"], []])
def test_stdout_holds_the_json_alone_and_stderr_what_the_script_prints(
    write: Write, tmp_path: Path, options: list[str]
) -> None:
    if not options:
        (tmp_path / "pyproject.toml").write_text('[tool.gradscope]\nformat = "json"\n')
    done = run("check", write(NOISE + HEALTHY).name, *options, folder=tmp_path)
    assert json.loads(done.stdout)["status"] == "healthy"
    noises = ["print", "os.write", "a child", "atexit"]
    assert sorted(done.stderr.splitlines()) == sorted(f"noise of {n}" for n in noises)


def test_the_json_of_a_model_class_is_not_mixed_with_what_its_file_prints(write: Write, tmp_path: Path) -> None:
    model = "import torch\nprint('noise')\nclass Net(torch.nn.Linear):\n"
    model += "    def __init__(self):\n        super().__init__(8, 3)\n        print('built')\n"
    target = f"{write(model, 'model.py').name}::Net"
    done = run("check", target, "--input-shape", "8", "--format", "json", folder=tmp_path)
    assert json.loads(done.stdout)["watched"]["steps"] == 1
    assert done.stderr.startswith("noise\nbuilt\n")


def test_with_an_output_file_the_script_prints_where_it_always_does(write: Write, tmp_path: Path) -> None:
    result = gradscope("check", write(NOISY + HEALTHY), "--format", "json", "-o", tmp_path / "report.json")
    assert (result.stdout, result.stderr) == ("noise on stdout\n", "noise on stderr\n")


def test_the_json_of_a_failed_script_tells_its_failure(write: Write) -> None:
    result = gradscope("check", write(HEALTHY + "raise ValueError('out of disk')\n"), "--format", "json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["status"]) == (2, "not-judged")
    assert report["cannot"] == "the script raised ValueError after 20 optimizer steps: out of disk"
    assert report["failure"].splitlines()[-1] == "ValueError: out of disk"


def test_the_json_of_a_failed_script_keeps_its_verdicts(write: Write) -> None:
    report = json.loads(gradscope("check", write(STALE + "raise ValueError\n"), "--format", "json").stdout)
    assert (report["status"], report["cannot"]) == (
        "unhealthy",
        "the script raised ValueError after 60 optimizer steps",
    )
    assert "stale-gradient" in {v["name"] for v in report["verdicts"]}


def test_the_json_of_a_sound_run_tells_no_failure(write: Write) -> None:
    report = json.loads(gradscope("check", write(HEALTHY), "--format", "json").stdout)
    assert (report["failure"], report["cannot"]) == (None, None)


def test_an_interrupted_process_leaves_without_a_traceback_of_gradscope(write: Write, tmp_path: Path) -> None:
    text = STALE + "    if step == 40:\n        import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"
    result = run("check", write(text).name, folder=tmp_path)
    assert result.returncode not in {0, 1}
    assert "Traceback" not in result.stderr


def test_printing_without_a_flush_keeps_the_order_of_script_and_report(write: Write, tmp_path: Path) -> None:
    result = run("check", write(NOISY + HEALTHY).name, folder=tmp_path)
    assert result.stdout.index("noise on stdout") < result.stdout.index("healthy (20 steps")
