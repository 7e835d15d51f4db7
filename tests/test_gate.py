"""From a report to an exit code: 0 healthy, 1 a verdict at or above the bar, 2 could not judge."""

import pytest
from gradscope.gate import exit_code
from gradscope.report import Report
from gradscope.settings import FAIL_ON
from gradscope.verdict import Severity, Verdict


def report(severity: str | None, cannot: str | None = None) -> Report:
    """A report whose worst verdict has this severity."""
    none = () if severity is None else (Verdict("X1", "x", "X", Severity(severity), None, None, None, ()),)
    return Report(none, cannot=cannot)


@pytest.mark.parametrize(
    ("severity", "codes"),
    [
        ("error", {"error": 1, "warning": 1, "info": 1, "never": 0}),
        ("warning", {"error": 0, "warning": 1, "info": 1, "never": 0}),
        ("info", {"error": 0, "warning": 0, "info": 1, "never": 0}),
        (None, {"error": 0, "warning": 0, "info": 0, "never": 0}),
    ],
)
@pytest.mark.parametrize("fail_on", FAIL_ON)
def test_a_verdict_at_or_above_the_bar_is_one(severity, codes, fail_on):
    assert exit_code(report(severity), fail_on) == codes[fail_on]


@pytest.mark.parametrize("fail_on", FAIL_ON)
def test_what_could_not_be_judged_is_never_zero(fail_on):
    assert exit_code(report(None, "no steps"), fail_on) == 2


def test_a_verdict_counts_more_than_what_could_not_be_judged():
    assert exit_code(report("error", "no steps")) == 1


def test_a_mild_verdict_beside_what_could_not_be_judged_is_two():
    assert exit_code(report("warning", "no steps")) == 2
