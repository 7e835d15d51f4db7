"""What `import gradscope` offers, and what it does not load."""

import json
import subprocess
import sys

import gradscope
import pytest

NAMES = [
    "Evidence",
    "GradscopeError",
    "NonFiniteError",
    "NotJudged",
    "Origin",
    "Remedy",
    "Report",
    "Role",
    "Scope",
    "Settings",
    "Severity",
    "Verdict",
    "Workload",
    "__version__",
    "hookimpl",
    "trial",
    "watch",
]
FRAMEWORKS = {"torch", "tensorflow", "jax", "mxnet"}


def loaded_by(program: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after a program."""
    code = f"{program}\nimport sys, json\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_public_names_are_these():
    assert gradscope.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_used(name):
    assert getattr(gradscope, name) is not None


def test_the_public_names_are_what_dir_lists():
    assert dir(gradscope) == sorted(NAMES)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError) as caught:
        gradscope.wotch  # noqa: B018 - reading it is the test
    assert str(caught.value) == "module 'gradscope' has no attribute 'wotch'"


def test_a_star_import_gives_all_of_them():
    names: dict = {}
    exec("from gradscope import *", names)
    assert set(NAMES) <= set(names)


def test_importing_gradscope_loads_nothing_but_the_standard_library():
    assert loaded_by("import gradscope") - loaded_by("pass") - set(sys.stdlib_module_names) <= {"gradscope"}


@pytest.mark.parametrize(
    "program",
    [
        "import gradscope",
        "from gradscope import *",
        "from gradscope.plugins import plugins; plugins().rules(); plugins().adapters()",
        "import gradscope; s = gradscope.watch(settings={}); s.observe(step=0, loss=1.0); s.report()",
    ],
)
def test_no_framework_is_loaded(program):
    assert not loaded_by(program) & FRAMEWORKS


def test_the_core_loads_only_numpy_and_pluggy():
    core = "import gradscope.check\nfrom gradscope.builtin import *\ngradscope_rules(), remedy_sources()"
    allowed = loaded_by("import numpy, pluggy") | set(sys.stdlib_module_names)
    more = {m for m in loaded_by(core) - allowed if not m.startswith("_sysconfigdata")}
    assert more == {"gradscope"}
