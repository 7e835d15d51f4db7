"""Whatever the end of a script, there is a report: exits, exceptions, interrupts."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Write
from tests.cli.programs import HEALTHY, NO_STEP, STALE, gradscope, last_line


@pytest.mark.parametrize("code", ["0", "", "None", "False"])
def test_a_script_that_leaves_by_sys_exit_after_training_is_judged(write: Write, code: str) -> None:
    result = gradscope("check", write(f"{HEALTHY}\nimport sys\nsys.exit({code})\n"))
    assert (result.exit_code, last_line(result.stdout)) == (0, "healthy (20 steps, 4 parameters, 1 optimizer)")


def test_a_script_that_leaves_by_os_exit_after_training_is_judged(write: Write) -> None:
    result = gradscope("check", write(f"{HEALTHY}\nimport os\nos._exit(0)\n"))
    assert (result.exit_code, last_line(result.stdout)) == (0, "healthy (20 steps, 4 parameters, 1 optimizer)")


@pytest.mark.parametrize(
    ("leaving", "reason"),
    [
        ("sys.exit(3)", "the script left with exit code 3 after 20 optimizer steps"),
        ("os._exit(3)", "the script left with exit code 3 after 20 optimizer steps"),
        ("raise SystemExit('bad config')", "the script left with exit code 1 after 20 optimizer steps: bad config"),
    ],
)
def test_a_script_that_leaves_unsuccessfully_is_not_healthy(write: Write, leaving: str, reason: str) -> None:
    result = gradscope("check", write(f"{HEALTHY}\nimport os, sys\n{leaving}\n"))
    assert (result.exit_code, last_line(result.stdout)) == (2, f"not-judged: {reason}")
    assert result.stderr.startswith("bad config\n") == ("bad config" in leaving)


def test_what_was_found_before_the_script_left_is_still_printed(write: Write) -> None:
    result = gradscope("check", write(STALE + "raise SystemExit(3)\n"))
    assert result.exit_code == 2
    assert result.stdout.startswith("ERROR GS012")
    assert last_line(result.stdout).endswith("; the script left with exit code 3 after 60 optimizer steps")


@pytest.mark.parametrize(
    "ending", ["finally:\n    sys.exit(3)", "except BaseException:\n    pass\nsys.exit(3)", "except:\n    os._exit(3)"]
)
def test_how_a_script_leaves_when_it_was_stopped_does_not_matter(write: Write, ending: str) -> None:
    head, loop, body = HEALTHY.partition("for step")
    indented = "".join(f"    {line}\n" for line in (loop + body).splitlines())
    result = gradscope("check", write(f"import os, sys\n{head}try:\n{indented}{ending}\n"), "--steps", "10")
    assert (result.exit_code, last_line(result.stdout)) == (0, "healthy (10 steps, 4 parameters, 1 optimizer)")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("3", "the script left with exit code 3 before any optimizer step"),
        ("'no data'", "the script left with exit code 1 before any optimizer step: no data"),
        ("0", "no optimizer step was taken: there is nothing to judge"),
    ],
)
def test_a_script_that_leaves_before_training_could_not_be_judged(write: Write, code: str, reason: str) -> None:
    result = gradscope("check", write(f"import sys\nsys.exit({code})\n{HEALTHY}"))
    assert (result.exit_code, last_line(result.stdout)) == (2, f"not-judged: {reason}")


def test_a_script_without_any_optimizer_step_could_not_be_judged(write: Write) -> None:
    result = gradscope("check", write(NO_STEP))
    assert result.exit_code == 2
    assert last_line(result.stdout) == "not-judged: no optimizer step was taken: there is nothing to judge"


def test_too_few_steps_are_not_called_healthy(write: Write) -> None:
    result = gradscope("check", write(HEALTHY.replace("range(20)", "range(3)")))
    assert result.exit_code == 2
    assert last_line(result.stdout) == "not-judged: only 3 optimizer steps seen; at least 5 are needed"


def test_a_script_that_raises_shows_its_own_frames_and_exits_with_2(write: Write) -> None:
    file = write("import torch\ndef load():\n    torch.zeros(2) @ torch.zeros(3)\nload()\n")
    result = gradscope("check", file)
    assert result.exit_code == 2
    assert "gradscope: the program failed before the end of the check" in result.stderr
    assert f'File "{file}", line 4, in <module>' in result.stderr
    assert f'File "{file}", line 3, in load' in result.stderr
    assert "RuntimeError: inconsistent tensor size" in result.stderr
    assert "gradscope/" not in result.stderr
    assert "click" not in result.stderr


def test_frames_of_libraries_are_cut_from_the_traceback(write: Write) -> None:
    result = gradscope("check", write("import torch\ntorch.nn.Linear(2, 1)(torch.zeros(1, 3))\n"))
    assert result.exit_code == 2
    assert "site-packages" not in result.stderr
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in result.stderr


def test_what_was_found_before_the_script_failed_is_still_printed(write: Write) -> None:
    result = gradscope("check", write(STALE + "raise ValueError('out of disk')\n"))
    assert result.exit_code == 2
    assert "ERROR GS012 stale-gradient" in result.stdout
    assert "ValueError: out of disk" in result.stderr


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("raise ValueError('late')", "the script raised ValueError after 20 optimizer steps: late"),
        ("raise KeyboardInterrupt", "the script was interrupted after 20 optimizer steps"),
    ],
)
def test_a_run_that_broke_off_is_not_called_healthy(write: Write, ending: str, reason: str) -> None:
    result = gradscope("check", write(f"{HEALTHY}{ending}\n"))
    assert (result.exit_code, last_line(result.stdout)) == (2, f"not-judged: {reason}")


def test_the_reason_of_a_script_that_raises_before_training_tells_the_error(write: Write) -> None:
    result = gradscope("check", write("raise ValueError('early')\n"))
    assert last_line(result.stdout) == "not-judged: the script raised ValueError before any optimizer step: early"


WORKLOAD = """\
import gradscope
import torch
x, y = torch.randn(64, 4), torch.randn(64, 1)
def build():
    return torch.nn.Linear(4, 1)
def loss(output, target):
    return torch.nn.functional.mse_loss(output, target)
def batches():
    yield x, y
def workload():
    return gradscope.Workload(build, loss, batches)
"""


@pytest.mark.parametrize("name", ["build", "loss", "batches", "workload"])
@pytest.mark.parametrize(
    ("deed", "error"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("raise SystemExit(3)", "left by sys.exit(3)")],
)
def test_a_workload_whose_parts_fail_shows_the_users_frames(write: Write, name: str, deed: str, error: str) -> None:
    lines = WORKLOAD.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"def {name}("))
    file = write("\n".join([*lines[: at + 1], f"    {deed}", *lines[at + 1 :]]))
    result = gradscope("check", file)
    assert result.exit_code == 2
    assert last_line(result.stderr).endswith(error)
    assert "unforeseen" not in result.output
    if "1 / 0" in deed:
        assert f'File "{file}", line {at + 2}, in {name}' in result.stderr
        assert "gradscope_torch" not in result.stderr


def test_an_error_of_a_library_in_a_workload_is_told_with_its_innermost_frame(write: Write) -> None:
    text = WORKLOAD.replace("build, loss,", "build, torch.nn.MSELoss(),").replace("yield x, y", "yield x, 3")
    result = gradscope("check", write(text))
    assert result.exit_code == 2
    assert "Traceback (none of your frames; the innermost one):\n" in result.stderr
    assert last_line(result.stdout).startswith("not-judged: the script raised ")


def test_a_failing_script_without_verdicts_is_never_0(write: Write) -> None:
    assert gradscope("check", write(HEALTHY + "raise ValueError('out of disk')\n"), "--fail-on", "never").exit_code == 2


@pytest.mark.parametrize("place", ["before", "while", "after"])
def test_an_interrupt_is_neither_healthy_nor_a_verdict(write: Write, place: str) -> None:
    interrupt = "raise KeyboardInterrupt\n"
    text = {
        "before": interrupt + HEALTHY,
        "while": HEALTHY + "    if step == 10: raise KeyboardInterrupt\n",
        "after": HEALTHY + interrupt,
    }[place]
    result = gradscope("check", write(text))
    assert result.exit_code not in {0, 1}
    assert "Traceback" not in result.stderr


def test_what_was_found_before_an_interrupt_is_still_printed(write: Write) -> None:
    result = gradscope("check", write(STALE + "    if step == 40: raise KeyboardInterrupt\n"))
    assert "ERROR GS012 stale-gradient" in result.stdout


def test_a_script_that_handles_its_interrupt_is_judged(write: Write) -> None:
    guarded = "try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt:\n    pass\n"
    assert gradscope("check", write(HEALTHY + guarded)).exit_code == 0
