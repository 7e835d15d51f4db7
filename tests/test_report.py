"""The answer as data."""

import json
import math

import pytest
from gradscope.report import Abstention, Report
from gradscope.reporters.text import text
from gradscope.verdict import Evidence, Remedy, Role, Severity, Verdict, severity_of


def verdict(severity: Severity = Severity.ERROR, **given) -> Verdict:
    """A verdict of some severity."""
    evidence = given.pop("evidence", (Evidence("norm", 2.0, ">", 1.0, 3, "a.weight", "a"),))
    return Verdict("GS101", "vanishing-gradient", "It vanishes", severity, "a", "m.py:1", 3, evidence, **given)


@pytest.mark.parametrize(
    ("severities", "cannot", "status"),
    [
        ([], None, "healthy"),
        ([], "no steps", "not-judged"),
        (["info"], None, "healthy"),
        (["info"], "no steps", "not-judged"),
        (["warning"], None, "unhealthy"),
        (["error"], "no steps", "unhealthy"),
    ],
)
def test_the_status_follows_from_verdicts_and_from_what_could_not_be_judged(severities, cannot, status):
    assert Report(tuple(verdict(Severity(s)) for s in severities), cannot=cannot).status == status


@pytest.mark.parametrize(
    ("severities", "worst"), [([], None), (["info"], "info"), (["info", "error", "warning"], "error")]
)
def test_the_worst_is_the_gravest_severity(severities, worst):
    assert Report(tuple(verdict(Severity(s)) for s in severities)).worst() == worst


@pytest.mark.parametrize(
    ("roles", "severity"),
    [
        ([Role.CAUSE, Role.HARM, Role.NOTE], "error"),
        ([Role.CAUSE, Role.NOTE], "warning"),
        ([Role.NOTE], "info"),
    ],
)
def test_harm_is_an_error_a_cause_alone_a_warning_a_note_an_info(roles, severity):
    assert severity_of(tuple(Evidence("q", 1, ">", 0, role=r) for r in roles)) == severity


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (0.5, 0.5)])
def test_numbers_that_are_not_finite_are_text(value, text):
    report = Report((verdict(evidence=(Evidence("norm", value, ">", 0.0),)),), watched={"layers": [{"gain": value}]})
    data = report.as_dict()
    assert data["verdicts"][0]["evidence"][0]["value"] == text
    assert data["watched"]["layers"] == [{"gain": text}]
    json.dumps(data, allow_nan=False)


def test_a_verdict_as_data_has_the_code_of_the_framework_of_the_run():
    remedy = Remedy("r", "Do this", "because", {"torch": "x()", "jax": "y()"}, "source")
    report = Report((verdict(remedies=(remedy,)),), framework="torch")
    assert report.as_dict()["verdicts"][0]["remedies"] == [
        {
            "name": "r",
            "title": "Do this",
            "reason": "because",
            "code": "x()",
            "reference": "source",
            "cost": "",
            "risk": "",
            "settings": {},
        }
    ]


@pytest.mark.parametrize(
    ("framework", "code"), [("torch", "x()"), ("mxnet", ""), (None, {"torch": "x()", "jax": "y()"})]
)
def test_a_remedy_has_code_for_one_framework_or_for_all(framework, code):
    remedy = Remedy("r", "Do this", "because", {"torch": "x()", "jax": "y()"})
    assert remedy.as_dict(framework)["code"] == code


def test_abstentions_and_failures_are_told():
    report = Report(not_judged=(Abstention("stalled-loss", "too short"),), failures={"a": "b"}, cannot="no steps")
    data = report.as_dict()
    assert data["not_judged"] == [{"rule": "stalled-loss", "reason": "too short"}]
    assert (data["failures"], data["cannot"], data["status"]) == ({"a": "b"}, "no steps", "not-judged")


def test_the_failure_of_the_program_is_told():
    report = Report(cannot="the script raised", failure="ValueError: out of disk")
    assert (report.as_dict()["failure"], report.status) == ("ValueError: out of disk", "not-judged")


def test_a_printed_report_is_its_text_form():
    report = Report((verdict(),))
    assert str(report) == text.render(report)
    assert str(report).startswith("ERROR GS101 vanishing-gradient: It vanishes\n")
