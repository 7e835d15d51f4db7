"""Programs run in children of a process that has imported for them."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gradscope.trials.forks import Job, imports_of, servers
from gradscope.trials.rerun import Order
from gradscope.trials.scratch import copied


@pytest.fixture
def run(tmp_path):
    """Runs texts in one server: (how it went wrong, what was seen, what was printed)."""
    file = tmp_path / "train.py"
    file.write_text("raise SystemExit('the file itself must not run')\n")

    def all_of(*texts, seed=0, limit_s=60.0, arguments=()):
        found = []
        with servers(1, "import numpy", 1) as pool:
            server = pool.get()
            for at, text in enumerate(texts):
                result, printed = tmp_path / f"{at}.json", tmp_path / f"{at}.txt"
                order = Order(str(file), text, str(result), tuple(arguments), seed)
                why = server.run(Job(order, str(printed), limit_s))
                seen = json.loads(result.read_text()) if result.exists() else None
                found.append((why, seen, printed.read_text()))
            pool.put(server)
        return found

    return all_of


def test_a_changed_text_runs_in_the_place_of_the_file(run, tmp_path):
    assert run("print(__file__, __name__)") == [(None, {"failure": None}, f"{tmp_path / 'train.py'} __main__\n")]


def test_one_run_leaves_nothing_to_the_next(run):
    texts = ["import json\njson.mine = 1", "import json\nprint(hasattr(json, 'mine'))"]
    assert run(*texts)[1][2] == "False\n"


def test_arguments_and_seed_arrive(run):
    text = "import os, sys\nprint(sys.argv[1:], os.environ['SEED'])"
    assert run(text, seed=2, arguments=["--fast"])[0][2] == "['--fast'] 2\n"


def test_a_program_that_asks_for_no_seed_draws_other_numbers_with_each(run):
    text = "import numpy as np\nnp.random.seed(7)\nprint(np.random.rand())"
    first, again = run(text, text)
    other = run(text, seed=1)
    assert first == again
    assert other[0][2] != first[2]


def test_a_program_that_asks_for_its_seed_is_left_to_it(run):
    text = "import os\nimport numpy as np\nnp.random.seed(7)\nprint(np.random.rand(), os.environ['SEED'] > '')"
    assert run(text, seed=1) == run(text, seed=2)


def test_a_program_that_raises_says_how(run):
    why, seen, printed = run("raise ValueError('no data')")[0]
    assert (why, seen) == (None, {"failure": "ValueError: no data"})
    del printed


def test_a_program_that_takes_too_long_is_stopped(run):
    why, seen, _ = run("import time\ntime.sleep(60)", limit_s=0.5)[0]
    assert (why, seen) == ("took more than 0 s, and was stopped", None)


def test_a_program_that_kills_itself_says_so(run):
    why, seen, _ = run("import os, signal\nprint('bye', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)", "print(1)")[
        0
    ]
    assert (why, seen) == ("ended early (exit code -9: bye)", None)


def test_source_code_is_that_of_the_changed_text(run):
    text = "import inspect, linecache\ndef f():\n    return 'changed'\nlinecache.updatecache(__file__)\n"
    assert "return 'changed'" in run(text + "print(inspect.getsource(f))")[0][2]


def test_graphs_of_tensorflow_are_made_of_the_changed_text(run):
    pytest.importorskip("tensorflow")
    text = "import tensorflow as tf\n@tf.function\ndef f(x):\n    return x * 2\nprint(float(f(tf.constant(3.0))))\n"
    assert run(text)[0][2].splitlines()[-1] == "6.0"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import torch\nfrom sklearn.datasets import load_digits\nimport mine", ["sklearn.datasets", "torch"]),
        ("import json", []),
        ("import os\nos.environ['KERAS_BACKEND'] = 'torch'\nimport keras", None),
        ("import os\nos.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\nimport keras", ["keras"]),
    ],
)
def test_what_is_imported_beforehand(text, names):
    assert imports_of(text) == names


def test_the_children_end_with_the_process_that_asked(tmp_path):
    text = f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    asking = (
        "import sys\nfrom gradscope.trials.forks import Job, Server\nfrom gradscope.trials.rerun import Order\n"
        f"order = Order({str(tmp_path / 'train.py')!r}, {text!r}, {str(tmp_path / 'r.json')!r})\n"
        f"Server([], 1).run(Job(order, {str(tmp_path / 'out.txt')!r}))\n"
    )
    (tmp_path / "train.py").write_text("")
    asker = subprocess.Popen([sys.executable, "-c", asking])
    try:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    finally:
        asker.kill()
        asker.wait()
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not alive(child))


def wait_until(condition):
    """Waits until something is so; fails after a minute."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never came about")


def alive(process):
    """Whether a process runs and is not merely waiting to be buried."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_program_started_ends_with_it(run):
    text = "import subprocess, sys\nsleep = 'import time; time.sleep(60)'\n"
    text += "print(subprocess.Popen([sys.executable, '-c', sleep]).pid)"
    started = int(run(text)[0][2])
    wait_until(lambda: not alive(started))


def test_a_run_has_a_working_directory_of_its_own(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "data.txt").write_text("1")
    folder = copied(tmp_path / "here", tmp_path / "copy")
    file = tmp_path / "train.py"
    file.write_text("")
    text = "x = open('data.txt').read()\nopen('data.txt', 'w').write('changed')\nprint(x)"
    with servers(1, "", 1) as pool:
        order = Order(str(file), text, str(tmp_path / "r.json"))
        assert pool.get().run(Job(order, str(tmp_path / "out.txt"), 60.0, str(folder))) is None
    assert (tmp_path / "out.txt").read_text() == "1\n"
    assert (tmp_path / "here" / "data.txt").read_text() == "1"
