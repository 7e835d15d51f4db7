"""`gradscope check train.py`: the script runs as under `python train.py`, as far as it is asked to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Write
from tests.cli.programs import HEALTHY, STALE, gradscope, last_line


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
