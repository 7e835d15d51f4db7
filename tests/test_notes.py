"""Notes: every adapter says the same of the same."""

import math

import pytest
from gradscope import notes
from gradscope.history import TABLES
from gradscope.lineage import Lineage

PROBABILITY = Lineage("sigmoid", "net.2")
SAID = [
    notes.layer_note("net.0", [0.0] * 7, shape=(8, 3), type="Linear", source="a.py:1"),
    notes.input_note("net.0", [0.0] * 7, shape=(8, 3), consumer="Linear", source=None),
    notes.activation_note("relu", "net.0", [0.0] * 3, shape=(8, 3), output=False),
    notes.activation_note("tanh", "", [0.0] * 2, shape=(8, 3), output=True),
    notes.logarithm_note(PROBABILITY, [0.5], "a.py:7"),
]


@pytest.mark.parametrize("note", SAID, ids=lambda n: n.subject)
def test_what_is_noted_has_a_column_and_a_value(note):
    assert set(note.quantities) <= set(TABLES[note.table])
    assert len(note.quantities) == len(note.values)


def test_an_activation_is_named_after_the_layer_before_it():
    assert [n.subject for n in SAID[2:4]] == ["net.0 > relu", "tanh"]


def test_an_output_without_dimensions_has_one_unit():
    assert notes.layer_note("net", [0.0] * 7, shape=(), type="Sum", source=None).traits["units"] == 1
    assert notes.activation_note("sigmoid", "", [0.0] * 2, shape=(), output=False).traits["units"] == 1


def test_a_line_that_nobody_knows_is_no_source():
    assert notes.logarithm_note(PROBABILITY, [0.5], None).source is None
    assert notes.logarithm_note(PROBABILITY, [0.5], "a.py:7").source == "a.py:7"


@pytest.mark.parametrize(("shape", "size"), [((8, 3), 8.0), ((8,), math.nan), ((), math.nan)])
def test_one_dimension_is_no_batch(shape, size):
    assert notes.batch_size(shape) == pytest.approx(size, nan_ok=True)


def test_a_softmax_over_one_unit_is_told():
    given = Lineage("linear", "net.0", convolutional=True, is_output=True)
    assert given.through("softmax", "net.0", (8, 1)) == Lineage("softmax", "net.0", True, True, unit=True)
    assert not given.through("softmax", "net.0", (8, 2)).unit
    assert not given.through("sigmoid", "net.0", (8, 1)).unit
    assert not given.through("relu", "net.0", (8, 2), convolutional=False).convolutional
