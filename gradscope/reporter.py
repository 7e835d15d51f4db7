"""Reporter: a report format is a name and a function from a Report to text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradscope.report import Report

Render = Callable[["Report"], str]


@dataclass(frozen=True, slots=True)
class Reporter:
    """One report format. render must not compute: all that it shows stands in the Report."""

    name: str
    render: Render


def reporter(render: Render) -> Reporter:
    """Makes a Reporter of a function; its name is the function's."""
    return Reporter(render.__name__, render)
