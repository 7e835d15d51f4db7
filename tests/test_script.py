"""A user's program, run as `python FILE` would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gradscope.errors import ScriptFailed, TargetError
from gradscope.script import Ending, caused_by, open_script, silenced

STOPPING = "from tests.test_script import Stop\n"


class Stop(BaseException):
    """What ends an observation."""


@pytest.fixture
def program(tmp_path):
    """Writes a program and opens it."""

    def write(text: str, *arguments: str, name: str = "train.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return open_script(path, arguments)

    return write


def alone(path: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own, which prints how it ended."""
    code = "import pathlib\nfrom gradscope.script import open_script\nfrom tests.test_script import Stop\n"
    code += f"print(open_script(pathlib.Path({str(path)!r})).run(Stop))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_program_runs_as_main_with_its_own_arguments(program, capsys):
    script = program("import sys\nprint(__name__, sys.argv[1:], sys.modules['__main__'].__file__)", "--lr", "3")
    assert script.run(Stop) == Ending()
    assert capsys.readouterr().out == f"__main__ ['--lr', '3'] {script.path}\n"


def test_a_program_imports_its_neighbours(program, tmp_path, capsys):
    (tmp_path / "neighbour_of_train.py").write_text("X = 41")
    program("import neighbour_of_train\nprint(neighbour_of_train.X + 1)").run(Stop)
    assert capsys.readouterr().out == "42\n"


def test_a_program_of_a_package_imports_relatively(program, tmp_path, capsys):
    (tmp_path / "package_of_train").mkdir()
    (tmp_path / "package_of_train" / "__init__.py").write_text("")
    (tmp_path / "package_of_train" / "data.py").write_text("X = 7")
    script = program("from .data import X\nprint(X)", name="package_of_train/train.py")
    script.run(Stop)
    assert (script.package, capsys.readouterr().out) == ("package_of_train", "7\n")


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "raise ValueError(3)", "import sys; sys.path.clear()"])
def test_the_process_is_put_back_afterwards(program, ending):
    before = sys.argv, list(sys.path), sys.modules["__main__"]
    script = program(f"import sys\nsys.argv.append('x')\n{ending}")
    if "ValueError" in ending:
        with pytest.raises(ScriptFailed):
            script.run(Stop)
    else:
        script.run(Stop)
    assert (sys.argv, sys.path, sys.modules["__main__"]) == before


@pytest.mark.parametrize(
    ("leaving", "ending"),
    [
        ("sys.exit()", Ending()),
        ("sys.exit(0)", Ending()),
        ("sys.exit(3)", Ending(3)),
        ("sys.exit('no data')", Ending(1, "no data")),
        ("pass", Ending()),
        ("os._exit(0)", Ending()),
        ("os._exit(4)", Ending(4)),
    ],
)
def test_how_the_program_left_is_told(program, leaving, ending):
    assert program(f"import os, sys\n{leaving}").run(Stop) == ending


def test_a_message_given_to_exit_is_printed_as_python_does(program, capsys):
    program("raise SystemExit('no data')").run(Stop)
    assert capsys.readouterr().err == "no data\n"


@pytest.mark.parametrize("ending", ["", "os._exit(3)", "raise SystemExit(3)"])
def test_os_exit_is_put_back_afterwards(program, ending):
    before = os._exit
    program(f"import os\n{ending}").run(Stop)
    assert os._exit is before


def test_os_exit_ends_a_process_that_the_program_forks(tmp_path):
    forking = """
import os
child = os.fork()
if child == 0:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
    (tmp_path / "forking.py").write_text(forking)
    done = alone(tmp_path / "forking.py")
    assert done.stdout == "7\nEnding(code=0, message='')\n"


def test_os_exit_of_another_thread_is_told_and_never_0(tmp_path):
    (tmp_path / "threaded.py").write_text(
        "import os, threading\nthreading.Thread(target=os._exit, args=[0]).start()\nwhile True: pass\n"
    )
    done = alone(tmp_path / "threaded.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gradscope: the script left by os._exit(0) in a thread: no report is left\n"


@pytest.mark.parametrize("guard", ["finally", "except BaseException"])
def test_leaving_because_it_was_stopped_is_no_failure(program, guard):
    assert program(f"{STOPPING}import sys\ntry:\n    raise Stop\n{guard}:\n    sys.exit(1)").run(Stop) == Ending()


@pytest.mark.parametrize("deed", ["sys.stdout.close()", "sys.stdout = None", "sys.stdout = open(os.devnull, 'w')"])
def test_stdout_can_be_used_after_the_program(deed, tmp_path):
    (tmp_path / "closing.py").write_text(f"import os, sys\n{deed}\n")
    assert alone(tmp_path / "closing.py").stdout == "Ending(code=0, message='')\n"


@pytest.mark.parametrize(
    "text",
    [
        "raise Stop",
        "try:\n    raise Stop\nexcept Exception:\n    print('swallowed')",
        "try:\n    raise Stop\nfinally:\n    open_file = None",
        "try:\n    raise Stop\nexcept BaseException:\n    raise RuntimeError('cleanup failed')",
        "try:\n    raise Stop\nexcept BaseException as e:\n    raise RuntimeError('wrapped') from e",
    ],
)
def test_a_program_that_is_stopped_has_not_failed(program, capsys, text):
    assert program(STOPPING + text).run(Stop) == Ending()
    assert capsys.readouterr().out == ""


def test_a_program_that_raises_has_failed_with_the_frames_of_its_user_alone(program):
    script = program("import json\n\ndef load():\n    return json.loads('{')\n\nload()\n")
    with pytest.raises(ScriptFailed) as caught:
        script.run(Stop)
    text = str(caught.value)
    assert text.startswith("Traceback (your frames only):\n")
    assert f'File "{script.path}", line 6, in <module>' in text
    assert f'File "{script.path}", line 4, in load' in text
    assert "json/decoder.py" not in text
    assert text.splitlines()[-1].startswith("json.decoder.JSONDecodeError: ")


def test_a_keyboard_interrupt_is_the_users_own(program):
    with pytest.raises(KeyboardInterrupt):
        program("raise KeyboardInterrupt").run(Stop)


def test_a_package_that_cannot_be_imported_is_a_failure_of_the_program(program, tmp_path):
    (tmp_path / "broken_package_of_train").mkdir()
    (tmp_path / "broken_package_of_train" / "__init__.py").write_text("raise ValueError('no data')")
    script = program("from . import data", name="broken_package_of_train/train.py")
    with pytest.raises(ScriptFailed, match="ValueError: no data"):
        script.run(Stop)


# -- loading ---------------------------------------------------------------------------------------------------------


def test_the_names_of_a_file_are_loaded_under_its_own_name(program):
    names = program("X = __name__\nif __name__ == '__main__':\n    raise SystemExit(9)").load()
    assert names["X"] == "train"


@pytest.mark.parametrize(
    ("text", "message"), [("raise ValueError('no data')", "ValueError: no data"), ("exit(4)", r"left by sys.exit\(4\)")]
)
def test_a_file_that_cannot_be_loaded_has_failed(program, text, message):
    with pytest.raises(ScriptFailed, match=message):
        program(f"import sys\nexit = sys.exit\n{text}").load()


@pytest.mark.parametrize(
    ("text", "defines"),
    [
        ("import gradscope\ndef workload():\n    pass", True),
        ("def workload():\n    pass", False),
        ("import gradscope\nclass A:\n    def workload(self):\n        pass", False),
        ("import gradscope", False),
    ],
)
def test_a_file_that_defines_a_workload_is_recognised(program, text, defines):
    assert program(text).defines_workload is defines


# -- opening ---------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_refused_with_its_neighbours(tmp_path):
    for name in ("model.py", "main.py", "notes.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(TargetError) as caught:
        open_script(tmp_path / "train.py")
    assert str(caught.value) == f"{tmp_path / 'train.py'}: no such file; Python files there: main.py, model.py"


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(TargetError) as caught:
        open_script(tmp_path / "no" / "train.py")
    assert str(caught.value) == f"{tmp_path / 'no' / 'train.py'}: no such file"


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(TargetError) as caught:
        open_script(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder; expected a Python file such as {tmp_path / 'train.py'}"


def test_a_syntax_error_is_told_with_its_line(tmp_path):
    (tmp_path / "train.py").write_text("x = 1\nfor i in\n    pass\n")
    with pytest.raises(TargetError) as caught:
        open_script(tmp_path / "train.py")
    assert str(caught.value) == f"{tmp_path / 'train.py'}:2: syntax error: invalid syntax\n    for i in"


@pytest.mark.parametrize("content", [b"x = 1\x00", b"\xff\xfe\x00", b"# coding: nonsense\n"])
def test_a_file_that_is_no_python_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "train.py").write_bytes(content)
    with pytest.raises(TargetError, match=r"train\.py") as caught:
        open_script(tmp_path / "train.py")
    assert "None" not in str(caught.value)


# -- errors and output -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_an_error_is_caused_by_what_was_handled_when_it_was_raised(link):
    outer, middle = RuntimeError(), KeyError()
    setattr(outer, link, middle)
    setattr(middle, link, Stop())
    assert caused_by(outer, Stop)


def test_a_circle_of_errors_comes_to_an_end():
    one, other = RuntimeError(), KeyError()
    one.__context__, other.__cause__ = other, one
    assert not caused_by(one, Stop)


@pytest.mark.parametrize("error", [None, RuntimeError()])
def test_an_error_of_its_own_is_caused_by_nothing_else(error):
    assert not caused_by(error, Stop)


@pytest.mark.parametrize(("quiet", "seen"), [(True, ("", "")), (False, ("out\n", "err\n"))])
def test_a_program_is_silenced_when_asked(program, capsys, quiet, seen):
    script = program("import sys\nprint('out')\nprint('err', file=sys.stderr)")
    with silenced(quiet):
        script.run(Stop)
    assert tuple(capsys.readouterr()) == seen


def test_what_a_program_prints_can_be_put_aside(program, capfd):
    script = program(
        "import os, sys\nprint('printed')\nsys.stdout.flush()\nos.write(1, b'written\\n')\nos.system('echo child')"
    )
    with silenced(False, aside=True):
        script.run(Stop)
    print("report")
    assert tuple(capfd.readouterr()) == ("report\n", "printed\nwritten\nchild\n")
