"""`gradscope check train.py`: the script runs as under `python train.py`, and whatever its end, there is a report."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Write
from tests.cli.programs import HEALTHY, NO_STEP, STALE, gradscope


def last_line(output: str) -> str:
    """The line with the status."""
    return output.strip().splitlines()[-1]


def test_a_healthy_script_exits_with_0(write: Write) -> None:
    result = gradscope("check", write(HEALTHY))
    assert (result.exit_code, result.stderr) == (0, "")
    assert last_line(result.stdout) == "healthy (20 steps, 4 parameters, 1 optimizer)"


def test_a_sick_script_exits_with_1_and_names_the_illness(write: Write) -> None:
    result = gradscope("check", write(STALE))
    assert result.exit_code == 1
    assert result.stdout.startswith("ERROR GS012 stale-gradient: Gradients carry over from the step before")
    assert last_line(result.stdout).startswith("unhealthy (60 steps")


def test_arguments_after_two_dashes_are_those_of_the_script(write: Write) -> None:
    parse = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--steps', type=int)\n"
    parse += "p.add_argument('-o')\na = p.parse_args()\nprint('got', a.steps, a.o)\n"
    result = gradscope("check", write(parse + HEALTHY), "--", "--steps", "3", "-o", "x")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "got 3 x")


def test_the_script_sees_itself_as_main(write: Write) -> None:
    about = (
        "import sys\nprint(__name__, __file__, sys.argv, sys.modules['__main__'].__dict__ is globals(), sys.path[0])\n"
    )
    file = write(about + HEALTHY)
    result = gradscope("check", file, "--", "a")
    assert result.stdout.splitlines()[0] == f"__main__ {file} {[str(file), 'a']} True {file.parent}"


def test_the_main_guard_is_entered(write: Write) -> None:
    body = "".join(f"    {line}\n" for line in HEALTHY.splitlines())
    result = gradscope("check", write(f"def main():\n{body}\nif __name__ == '__main__':\n    main()\n"))
    assert (result.exit_code, last_line(result.stdout)) == (0, "healthy (20 steps, 4 parameters, 1 optimizer)")


def test_modules_beside_the_script_can_be_imported(write: Write) -> None:
    write("RATE = 1e-2\n", "sibling_of_train.py")
    result = gradscope("check", write("import sibling_of_train\nprint(sibling_of_train.RATE)\n" + HEALTHY))
    sys.modules.pop("sibling_of_train", None)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "0.01")


def test_relative_imports_of_a_package_work(write: Write) -> None:
    write("", "parcel/__init__.py")
    write("", "parcel/inner/__init__.py")
    write("RATE = 0.5\n", "parcel/rates.py")
    file = write("from ..rates import RATE\nprint(RATE)\n" + HEALTHY, "parcel/inner/train.py")
    result = gradscope("check", file)
    for name in [n for n in sys.modules if n.partition(".")[0] == "parcel"]:
        del sys.modules[name]
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "0.5")


def test_the_process_is_put_back_after_the_script(write: Write) -> None:
    before = (sys.argv[:], sys.path[:], sys.modules["__main__"], Path.cwd(), sys.stdout)
    gradscope("check", write(HEALTHY), "--", "a")
    assert (sys.argv[:], sys.path[:], sys.modules["__main__"], Path.cwd(), sys.stdout) == before


# -- ends --------------------------------------------------------------------------------------------------------------


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


# -- targets that are none ---------------------------------------------------------------------------------------------


def test_a_syntax_error_names_file_and_line(write: Write) -> None:
    file = write("import torch\nfor step in range(3)\n    pass\n")
    result = gradscope("check", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"gradscope: {file}:2: syntax error: expected ':'\n    for step in range(3)\n"


def test_a_missing_file_names_those_that_are_there(write: Write) -> None:
    file = write(HEALTHY, "training.py")
    result = gradscope("check", file.with_name("train.py"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"gradscope: {file.with_name('train.py')}: no such file; Python files there: training.py\n"


def test_a_missing_folder_is_a_missing_file(tmp_path: Path) -> None:
    result = gradscope("check", tmp_path / "nowhere" / "train.py")
    assert result.exit_code == 2
    assert result.stderr == f"gradscope: {tmp_path / 'nowhere' / 'train.py'}: no such file\n"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    result = gradscope("check", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"gradscope: {tmp_path}: is a folder; expected a Python file such as {tmp_path}/train.py\n"


@pytest.mark.parametrize("content", [b"a = 1\0\n", b"\xff\xfe\x00a"])
def test_a_file_that_is_no_python_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "train.py"
    file.write_bytes(content)
    result = gradscope("check", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"gradscope: {file}")


# -- steps -------------------------------------------------------------------------------------------------------------

LOOPS = {
    "plain": "{body}",
    "except Exception": "try:\n{indented}\nexcept Exception:\n    print('caught')\n",
    "except Exception in every step": "{guarded}",
    "bare except that raises another error": "try:\n{indented}\nexcept:\n    raise RuntimeError('stopped')\n",
    "finally": "try:\n{indented}\nfinally:\n    print('finally')\n",
}


def counting(shape: str, counter: Path, steps: int = 1000) -> str:
    """A script that writes how many steps it took, its loop guarded in some way."""
    head, _, body = HEALTHY.replace("range(20)", f"range({steps})").partition("for step")
    body = "for step" + body + f"    with open({str(counter)!r}, 'a') as file: file.write('x')\n"
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    lines = body.splitlines()
    guarded = "\n".join([lines[0], "    try:", *(f"    {line}" for line in lines[1:])])
    guarded += "\n    except Exception:\n        print('caught')\n"
    return head + LOOPS[shape].format(body=body, indented=indented, guarded=guarded)


@pytest.mark.parametrize("shape", LOOPS)
def test_steps_stop_the_script_early(write: Write, tmp_path: Path, shape: str) -> None:
    counter = tmp_path / "steps"
    result = gradscope("check", write(counting(shape, counter)), "--steps", "12")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "caught" not in result.stdout
    assert last_line(result.stdout) == "healthy (12 steps, 4 parameters, 1 optimizer)"
    assert len(counter.read_text()) == 11


def test_the_default_is_200_steps(write: Write, tmp_path: Path) -> None:
    counter = tmp_path / "steps"
    result = gradscope("check", write(counting("plain", counter)))
    assert "(200 steps" in last_line(result.stdout)
    assert len(counter.read_text()) == 199


def test_a_bare_except_in_every_step_ends_with_the_loop(write: Write, tmp_path: Path) -> None:
    text = counting("except Exception in every step", tmp_path / "steps", steps=30)
    result = gradscope("check", write(text.replace("except Exception:", "except:")), "--steps", "12")
    assert result.exit_code == 0


@pytest.mark.parametrize("steps", ["0", "-1", "many"])
def test_a_number_of_steps_that_is_none_is_refused(write: Write, steps: str) -> None:
    result = gradscope("check", write(HEALTHY), "--steps", steps)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Invalid value for '--steps'" in result.stderr


def test_the_environment_of_the_caller_is_unchanged(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    before = dict(os.environ)
    gradscope("check", write(HEALTHY))
    after = dict(os.environ)
    assert after == before
