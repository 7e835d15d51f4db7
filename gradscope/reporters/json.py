"""JSON, for programs. Field names are stable; a number that is not finite is written as text."""

from __future__ import annotations

import json as encoder

from gradscope.report import Report
from gradscope.reporter import reporter


@reporter
def json(report: Report) -> str:
    """The report as one JSON object."""
    return encoder.dumps(report.as_dict(), indent=1, allow_nan=False, default=str)
