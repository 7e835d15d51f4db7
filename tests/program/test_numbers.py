"""Where a number is written that is used somewhere else."""

import ast
from pathlib import Path

import pytest
from gradscope.program.numbers import number_edit, number_of, shown
from gradscope.program.source import Source

ARGPARSE = 'p.add_argument("--learning-rate", "-l", type=float, default=0.5)\nuse(args.learning_rate)\n'
TABLE = [
    ("use(0.5)\n", "0.1"),
    ("use(-0.5)\n", "0.1"),
    ("lr = 0.5\nuse(lr)\n", "0.1"),
    ("lr: float = 0.5\nuse(lr)\n", "0.1"),
    ("base = 0.5\nlr = base\nuse(lr)\n", "0.1"),
    ('config = {"lr": 0.5, "n": 3}\nuse(config["lr"])\n', "0.1"),
    ('config = dict(lr=0.5)\nuse(config["lr"])\n', "0.1"),
    (ARGPARSE, "0.1"),
    ("@dataclass\nclass C:\n    lr: float = 0.5\nuse(c.lr)\n", "0.1"),
    ("class C:\n    lr = 0.5\nuse(C.lr)\n", "0.1"),
    ("class T:\n    def __init__(self):\n        self.lr = 0.5\n    def go(self):\n        use(self.lr)\n", "0.1"),
    ("def f(lr=0.5):\n    use(lr)\nf()\n", "0.1"),
    ("def f(*, lr=0.5):\n    use(lr)\n", "0.1"),
    ("def f(lr=1.0):\n    use(lr)\nf(lr=0.5)\n", "0.1"),
]


def used(text: str) -> tuple[Source, ast.expr]:
    """A program, and what its last use(...) is given."""
    one = Source(Path("train.py").resolve(), text)
    return one, next(c.args[0] for c in one.calls() if one.of(c.func) == "use")


@pytest.mark.parametrize(("text", "new"), TABLE)
def test_a_number_is_changed_where_it_is_written(text, new):
    one, node = used(text)
    assert abs(number_of(one, node)) == 0.5
    assert one.edited([number_edit(one, node, 0.1)]).text == text.replace("-0.5", new).replace("0.5", new)


@pytest.mark.parametrize(
    "text",
    [
        "lr = 0.5\nlr = 0.7\nuse(lr)\n",
        "use(compute())\n",
        'a = {"lr": 1.0}\nb = {"lr": 2.0}\nuse(a["lr"])\n',
        "lr = lr\nuse(lr)\n",
        "use(True)\n",
    ],
)
def test_where_several_places_or_none_are_known_it_is_changed_where_it_is_used(text):
    one, node = used(text)
    assert number_of(one, node) is None
    assert "use(0.1)" in one.edited([number_edit(one, node, 0.1)]).text


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "0.1"), (3.0, "3"), (1.23456e-5, "1.23e-05"), (64.0, "64"), (5e7, "50000000.0")]
)
def test_a_number_is_shown_as_one_writes_it(value, text):
    assert shown(value) == text


def test_an_option_that_is_given_is_changed_where_it_is_used():
    one = Source(Path("train.py").resolve(), ARGPARSE, arguments=("--learning-rate=0.3",))
    node = next(c.args[0] for c in one.calls() if one.of(c.func) == "use")
    assert one.edited([number_edit(one, node, 0.1)]).text.endswith("use(0.1)\n")
