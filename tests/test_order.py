"""The order of verdicts: causes before consequences, the gravest first, an illness once."""

import math
from dataclasses import replace

import numpy as np
import pytest
from gradscope.history import MISSING
from gradscope.verdict import Role

from tests.specimens import PARAMETERS, WEIGHTS, healthy_run, judged, learning, stuck
from tests.strangers import harm, only, shows


def test_notes_come_last():
    (v,) = only(shows("XX010", "ill", harm(1, "first", Role.NOTE), harm(2, "second")))
    assert [e.module for e in v.evidence] == ["second", "first"]


def test_a_cause_comes_before_its_consequence():
    first = shows("XX020", "fever", harm(3))
    second = shows("XX021", "infection", harm(1), explains=("fever",))
    assert [(v.name, v.consequence_of) for v in only(first, second)] == [("infection", None), ("fever", "infection")]


def test_what_was_there_first_is_no_consequence():
    fever = shows("XX020", "fever", harm(1))
    infection = shows("XX021", "infection", harm(3), explains=("fever",))
    assert {v.name: v.consequence_of for v in only(fever, infection)} == {"fever": None, "infection": None}


@pytest.mark.parametrize(("left", "right", "first"), [(1, 2, "left"), (2, 1, "right"), (1, 1, "left")])
def test_of_two_that_explain_each_other_the_earlier_is_the_cause(left, right, first):
    verdicts = only(
        shows("XX030", "left", harm(left), explains=("right",)),
        shows("XX031", "right", harm(right), explains=("left",)),
    )
    assert [v.name for v in verdicts] == [first, "right" if first == "left" else "left"]
    assert verdicts[1].consequence_of == first


def test_two_that_explain_each_other_at_unknown_steps_are_no_consequences():
    verdicts = only(
        shows("XX030", "left", harm(), explains=("right",)), shows("XX031", "right", harm(), explains=("left",))
    )
    assert [v.consequence_of for v in verdicts] == [None, None]


def test_a_chain_leads_back_to_its_root():
    verdicts = only(
        shows("XX040", "c", harm(3)),
        shows("XX041", "b", harm(2), explains=("c",)),
        shows("XX042", "a", harm(1), explains=("b", "c")),
    )
    assert [(v.name, v.consequence_of) for v in verdicts] == [("a", None), ("b", "a"), ("c", "a")]


def test_among_equals_the_gravest_comes_first():
    verdicts = only(shows("XX050", "mild", harm(1, role=Role.CAUSE)), shows("XX051", "grave", harm(1)))
    assert [v.name for v in verdicts] == ["grave", "mild"]


def test_a_cut_encoder_explains_the_loss_that_stands_still():
    cut = {f"{m}.{k}": MISSING for m in ("first", "second") for k in ("weight", "bias")}
    verdicts = judged(healthy_run(loss=stuck(100), gradients=cut)).verdicts
    assert [(v.name, v.consequence_of) for v in verdicts] == [
        ("missing-gradient", None),
        ("stalled-loss", "missing-gradient"),
    ]


def test_large_steps_explain_what_they_blow_up():
    late = np.arange(100) >= 20
    history = healthy_run(
        loss=np.where(late, math.nan, stuck(100)),
        gradients=dict.fromkeys(PARAMETERS, np.where(late, math.nan, 1.0)),
        parameters={"update_norm": dict.fromkeys(WEIGHTS, 50.0), "nonfinite": {WEIGHTS[0]: late}},
    )
    verdicts = judged(history).verdicts
    assert verdicts[0].name == "oversized-update"
    assert {v.name: v.consequence_of for v in verdicts[1:]} == dict.fromkeys(
        ("non-finite-loss", "non-finite-gradient", "non-finite-parameter", "stalled-loss"), "oversized-update"
    )


def test_the_gravest_objective_comes_first():
    unmoved = healthy_run(objective="b", loss=stuck(100))
    learns = healthy_run(objective="a", loss=learning(100), run={"carried_over": 1})
    assert [(v.objective, str(v.severity)) for v in judged(learns, unmoved).verdicts] == [
        ("b", "error"),
        ("a", "warning"),
    ]


def test_an_illness_of_one_place_is_told_once():
    histories = (healthy_run(objective=o, loss=stuck(100)) for o in "ab")
    assert [v.name for v in judged(*histories).verdicts] == ["stalled-loss"]


def test_what_nothing_else_can_have_brought_about_is_no_consequence_but_comes_after():
    fever = shows("XX020", "fever", replace(harm(3), own=True))
    infection = shows("XX021", "infection", harm(1), explains=("fever",))
    assert [(v.name, v.consequence_of) for v in only(fever, infection)] == [("infection", None), ("fever", None)]


def test_consequences_keep_their_remedies():
    history = healthy_run(loss=stuck(100), gradients={f"first.{k}": MISSING for k in ("weight", "bias")})
    effect = next(v for v in judged(history).verdicts if v.consequence_of)
    assert effect.as_dict()["remedies"]
