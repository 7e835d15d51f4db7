"""Packaged: an adapter recognizes models without importing their framework, and imports its parts when asked."""

import sys
from fractions import Fraction

import pytest
from gradscope.adapter import Adapter
from gradscope.packaged import Packaged
from gradscope.scope import Scope


class Fractions(Packaged):
    """Takes the standard library's fractions for models."""

    name = "fractions"
    install = "nothing to do"
    module = "fractions"
    package = "stranger_parts"
    model = "Fraction"


class Absent(Fractions):
    """A framework that is not there."""

    module = "no_such_framework"


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """The package of the adapter, not imported yet."""
    folder = tmp_path / Fractions.package
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "watch.py").write_text("class Watch:\n    def __init__(self, *given):\n        self.given = given\n")
    (folder / "session.py").write_text("class Session:\n    def __init__(self, *given):\n        self.given = given\n")
    (folder / "trainer.py").write_text("def train(scope, workload):\n    workload.append('trained')\n")
    (folder / "cold.py").write_text("def cold(scope, target):\n    target.append('judged')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] == Fractions.package]:
        del sys.modules[name]


def test_it_offers_what_an_adapter_must():
    assert isinstance(Fractions(), Adapter)
    assert Fractions().available()


@pytest.mark.parametrize("thing", [Fraction(1), Fraction, [Fraction(1), 3], (Fraction(1),)])
def test_a_model_a_class_or_the_first_of_several_is_recognized(thing):
    assert Fractions().recognizes(thing)


@pytest.mark.parametrize("thing", [1.5, float, [], [3, Fraction(1)], "Fraction"])
def test_anything_else_is_not(thing):
    assert not Fractions().recognizes(thing)


def test_a_framework_that_is_not_imported_has_no_models():
    assert not Absent().available()
    assert not Absent().recognizes(Fraction(1))
    assert Absent.module not in sys.modules


def test_parts_are_imported_when_they_are_called_for(parts):
    adapter, scope, done = Fractions(), Scope(), []
    assert Fractions.package not in sys.modules
    assert adapter.watch(scope, "model", "optimizer").given == (scope, "model", "optimizer")
    assert adapter.session(scope).given == (scope,)
    adapter.train(scope, done)
    adapter.cold(scope, done)
    assert done == ["trained", "judged"]
