"""Gate: from a Report to an exit code."""

from __future__ import annotations

from gradscope.report import NOT_JUDGED, Report
from gradscope.verdict import Severity

PASSED, FAILED, COULD_NOT = 0, 1, 2


def exit_code(report: Report, fail_on: str = "error") -> int:
    """1 when a verdict is at or above `fail_on`, 2 when nothing could be judged, else 0."""
    worst = report.worst()
    if fail_on != "never" and worst is not None and worst.rank <= Severity(fail_on).rank:
        return FAILED
    return COULD_NOT if report.status == NOT_JUDGED or report.cannot else PASSED
