"""Parameters: their names, once in each table, also where they change places."""

from typing import Any

import numpy as np
from gradscope.history import History, Subject
from gradscope.parameters import name_parameters, parameter


def weight(name: str, **given: Any) -> Subject:
    known = {"fan_in": 4, "dtype": "float32", "optimized": True, "elsewhere": False, "trainable": True}
    return parameter(name, "net", **{"shape": (3, 4), **known, **given})


def test_traits_are_those_of_the_shape_and_of_the_owner():
    traits = weight("w", owner=History()).traits
    assert (traits["shape"], traits["size"], traits["matrix"]) == ((3, 4), 12, True)
    assert (traits["module_type"], weight("w").traits["module_type"]) == ("History", "")
    assert not weight("b", shape=(3,)).traits["matrix"]


def test_names_are_unique():
    history = History()
    name_parameters(history, [weight("w"), weight("w"), weight("w")])
    assert [s.name for s in history["gradient"].subjects] == ["w", "w'", "w''"]
    assert [s.name for s in history["parameter"].subjects] == ["w", "w'", "w''"]


def test_names_that_change_places_keep_their_columns():
    history = History()
    name_parameters(history, [weight("a"), weight("b")])
    history["gradient"].record(0, {"gradient_norm": np.array([1.0, 2.0])})
    name_parameters(history, [weight("b"), weight("a"), weight("c")])
    assert history["gradient"].series("gradient_norm", "b").tolist() == [1.0]
    assert history["gradient"].series("gradient_norm", "a").tolist() == [2.0]
    assert [history["gradient"].index(n) for n in "bac"] == [0, 1, 2]


def test_an_adapter_without_objects_tells_the_type_of_a_layer_and_what_is_no_matrix():
    traits = weight("w", matrix=False, module_type="Embedding").traits
    assert (traits["matrix"], traits["module_type"]) == (False, "Embedding")
    assert not weight("b", shape=(3,), matrix=True).traits["matrix"]
