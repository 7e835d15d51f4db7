"""`gradscope demo`: a sick network is shown, judged and healed."""

from __future__ import annotations

import functools
import io
import re
import subprocess
import sys

import pytest
from click.testing import Result
from gradscope.reference.demonstrations import DEMONSTRATIONS
from gradscope.reference.healing import course
from rich.console import Console

from gradscope_cli.demo import show
from tests.cli.programs import gradscope


@functools.cache
def demo(*arguments: str) -> Result:
    """The command with these arguments."""
    return gradscope("demo", *arguments)


def test_the_first_is_shown_without_a_name() -> None:
    shown = demo()
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.startswith("deep-sigmoid ")
    assert shown.stdout == demo("deep-sigmoid").stdout


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_a_demonstration_goes_from_the_illness_to_the_cure(name: str) -> None:
    shown = demo(name)
    assert (shown.exit_code, shown.stderr) == (0, "")
    parts = ["gradient RMS through depth", "ERROR GS", "loss before", "Healthy again with "]
    places = [shown.stdout.index(part) for part in parts]
    assert places == sorted(places)
    told = re.search(r"loss (\S+) -> (\S+) without, (\S+) -> (\S+) with it", shown.stdout[places[-1] :])
    assert told
    before, without, start, end = map(float, told.groups())
    assert end < start
    assert not without < end
    assert before > 0


def test_bars_grow_with_the_gradient() -> None:
    lines = [x for x in demo().stdout.splitlines() if x.startswith(" dense")]
    assert len(lines) == 10
    sick = [len(re.findall("█+", x)[0]) for x in lines]
    assert sick == sorted(sick)
    assert sick[0] < sick[-1] / 3


def test_a_gradient_of_zero_has_no_bar() -> None:
    line = next(x for x in demo("dead-relu").stdout.splitlines() if x.startswith(" dense1"))
    assert re.match(r" dense1 +0  ", line)
    assert len(re.findall("█+", line)) == 1


def test_the_list_tells_every_story() -> None:
    listed = gradscope("demo", "--list")
    assert listed.exit_code == 0
    assert listed.stdout.splitlines() == [f"{d.name:<14} {d.story}" for d in DEMONSTRATIONS.values()]


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    refused = gradscope("demo", "flu")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == (
        "gradscope: demo: no demonstration is called 'flu'; there are deep-sigmoid, exploding, dead-relu, bad-init, "
        "high-rate\n"
    )


def test_where_no_remedy_heals_it_is_said() -> None:
    sick = course(DEMONSTRATIONS["high-rate"].make(), (), 30)
    text = io.StringIO()
    show(Console(file=text, width=100), [sick, sick], 30)
    assert text.getvalue().endswith("None of them heals it.\n")
    assert "with " not in text.getvalue().splitlines()[1]


def test_no_framework_is_loaded() -> None:
    code = (
        "import sys\nfrom gradscope_cli.main import main\n"
        "try:\n    main(['demo', 'high-rate', '--steps', '30'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'tensorflow', 'jax', 'keras', 'mxnet'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
