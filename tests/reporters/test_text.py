"""Text, for people."""

import math
import re

import pytest
from gradscope.report import Abstention, Report
from gradscope.reporters.text import number
from gradscope.reporters.text import text as reporter
from gradscope.verdict import Evidence, Remedy, Severity, Verdict

WATCHED = {"steps": 90, "objectives": [{"parameters": 6}]}
REMEDIES = tuple(Remedy(f"r{i}", f"do {i}", f"why {i}", {"torch": f"x = {i}\ny = {i}"}) for i in range(4))


def verdict(**given) -> Verdict:
    """A verdict with one piece of evidence."""
    fields = {
        "code": "GS101",
        "name": "vanishing-gradient",
        "summary": "It vanishes",
        "severity": Severity.ERROR,
        "module": "net.first",
        "source": "m.py:4",
        "step": 3,
        "evidence": (Evidence("norm", 1e-7, "<", 0.001, 3, "net.first.weight", "net.first"),),
    }
    return Verdict(**(fields | given))


def lines(**given) -> list[str]:
    """The lines of a report."""
    return reporter.render(Report(**({"watched": WATCHED, "framework": "torch"} | given))).splitlines()


def test_a_verdict_shows_what_where_why_and_what_to_do():
    assert lines(verdicts=(verdict(remedies=REMEDIES[:2]),)) == [
        "ERROR GS101 vanishing-gradient: It vanishes",
        "  where     net.first at m.py:4, since step 3",
        "  evidence  net.first.weight: norm 1e-07 < 0.001 at step 3",
        "  remedy    do 0: why 0",
        "            | x = 0",
        "            | y = 0",
        "  or        do 1: why 1",
        "            | x = 1",
        "            | y = 1",
        "",
        "unhealthy (90 steps, 6 parameters, 1 optimizer, 1 verdict)",
    ]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "  where     net.first at m.py:4, since step 3"),
        ({"module": None}, "  where     m.py:4, since step 3"),
        ({"source": None}, "  where     net.first, since step 3"),
        ({"step": None}, "  where     net.first at m.py:4"),
        ({"module": "2"}, "  where     layer 2 at m.py:4, since step 3"),
        ({"step": 0}, "  where     net.first at m.py:4, since step 0"),
        ({"objective": "critic"}, "  where     net.first at m.py:4, since step 3, of critic"),
    ],
)
def test_the_place_shows_what_is_known(given, line):
    assert lines(verdicts=(verdict(**given),))[1] == line


def test_a_verdict_without_a_place_has_no_line_for_it():
    shown = lines(verdicts=(verdict(module=None, source=None, step=None),))
    assert not [line for line in shown if line.startswith("  where")]


@pytest.mark.parametrize(("known", "advised"), [(REMEDIES, ["do 0", "do 1", "do 2"]), ((), ["do 0"])])
def test_a_consequence_names_its_cause_and_no_remedies_where_the_cause_has_some(known, advised):
    cause = verdict(name="dead-units", remedies=known)
    shown = lines(verdicts=(cause, verdict(consequence_of="dead-units", remedies=REMEDIES[:1])))
    assert "  because   of dead-units, above" in shown
    assert [d for line in shown for d in re.findall(r"do \d", line)] == advised


def test_no_more_than_three_remedies_are_shown():
    shown = lines(verdicts=(verdict(remedies=REMEDIES),))
    assert [line for line in shown if "do " in line] == [
        "  remedy    do 0: why 0",
        "  or        do 1: why 1",
        "  or        do 2: why 2",
    ]


def test_no_more_than_four_pieces_of_evidence_are_shown():
    many = tuple(Evidence("norm", i, ">", 0, parameter=f"p{i}") for i in range(6))
    assert lines(verdicts=(verdict(evidence=many),))[2:7] == [
        "  evidence  p0: norm 0 > 0",
        "            p1: norm 1 > 0",
        "            p2: norm 2 > 0",
        "            p3: norm 3 > 0",
        "            and 2 more",
    ]


@pytest.mark.parametrize(
    ("evidence", "line"),
    [
        (Evidence("q", 2.0, ">", 1.0), "q 2 > 1"),
        (Evidence("q", math.nan, "is not", 0.0, 7), "q nan is not 0 at step 7"),
        (Evidence("q", 0.5, ">", 0.25, module="net.first"), "q 0.5 > 0.25"),
        (Evidence("q", 0.5, ">", 0.25, module="head"), "head: q 0.5 > 0.25"),
        (Evidence("q", 0.5, ">", 0.25, module="3"), "layer 3: q 0.5 > 0.25"),
        (Evidence("q", 0.5, ">", 0.25, detail="feature 4"), "q 0.5 > 0.25 (feature 4)"),
    ],
)
def test_evidence_is_a_value_against_a_threshold(evidence, line):
    assert lines(verdicts=(verdict(evidence=(evidence,)),))[2] == f"  evidence  {line}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3.0, "3"), (0.1234567, "0.1235"), (1e-9, "1e-09"), (2.5e7, "2.5e+07"), (-4, "-4"), (math.inf, "inf")],
)
def test_numbers_have_four_significant_digits(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("given", "last"),
    [
        ({}, "healthy (90 steps, 6 parameters, 1 optimizer)"),
        (
            {"watched": {"steps": 9, "objectives": [{"parameters": 6}] * 2}},
            "healthy (9 steps, 12 parameters, 2 optimizers)",
        ),
        ({"cannot": "no steps"}, "not-judged: no steps"),
        (
            {"cannot": "only 3 steps", "verdicts": (verdict(),)},
            "unhealthy (90 steps, 6 parameters, 1 optimizer); only 3 steps",
        ),
        ({"verdicts": (verdict(), verdict())}, "unhealthy (90 steps, 6 parameters, 1 optimizer, 2 verdicts)"),
        (
            {"verdicts": (verdict(severity=Severity.WARNING),)},
            "unhealthy (90 steps, 6 parameters, 1 optimizer, 1 verdict); "
            "warnings only, which fail a check with --fail-on warning",
        ),
    ],
)
def test_the_last_line_is_the_status_and_what_it_rests_on(given, last):
    assert lines(**given)[-1] == last


def test_a_single_step_and_parameter_are_told_in_the_singular():
    watched = {"steps": 1, "objectives": [{"parameters": 1}]}
    assert lines(watched=watched)[-1] == "healthy (1 step, 1 parameter, 1 optimizer)"


def test_what_was_not_judged_is_told_by_reason():
    shown = lines(not_judged=(Abstention("a", "dark"), Abstention("b", "cold"), Abstention("c", "dark")))
    assert shown[:3] == ["not judged", "  a, c: dark", "  b: cold"]


def test_what_was_not_observed_and_what_failed_is_told():
    shown = lines(watched=WATCHED | {"limits": {"activations": "compiled"}}, failures={"barber": "KeyError: 1"})
    assert shown[:2] == [
        "not observed: activations: compiled",
        "disabled after an error of its own: barber: KeyError: 1",
    ]


def test_the_layers_of_a_cold_check_are_a_table():
    layers = [
        {"module": "net.0", "forward_gain": 0.5, "gradient": 1.0},
        {"module": "net.10", "forward_gain": 0.123456, "gradient": 1e-5},
    ]
    assert lines(watched=WATCHED | {"layers": layers})[:3] == [
        "layer   forward gain  gradient, of the largest",
        "net.0            0.5                         1",
        "net.10        0.1235                     1e-05",
    ]


def test_a_cold_report_leaves_out_the_rules_that_need_steps():
    layers = [{"module": "net.0", "forward_gain": 0.5, "gradient": 1.0}]
    shown = lines(watched=WATCHED | {"layers": layers}, not_judged=(Abstention("a", "fewer than 40 steps"),))
    assert not [line for line in shown if "not judged" in line or "fewer" in line]


def test_rendering_writes_nothing(capsys):
    reporter.render(Report())
    assert tuple(capsys.readouterr()) == ("", "")
