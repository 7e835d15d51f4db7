"""Programs run in children of a process that has imported for them."""

import json

import pytest
from gradscope.trials.forks import Job, imports_of, servers
from gradscope.trials.rerun import Order


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
    text = "import inspect\ndef f():\n    return 'changed'\nprint(inspect.getsource(f))"
    assert "return 'changed'" in run(text)[0][2]


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
