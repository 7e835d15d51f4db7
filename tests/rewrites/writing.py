"""What a remedy makes of a program that is written in a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradscope.builtin import rewrites
from gradscope.history import History
from gradscope.program.names import with_imports
from gradscope.program.source import Source
from gradscope.rewriting import Site
from gradscope.verdict import Evidence, Severity, Verdict

from tests.specimens import healthy_run

FILE = Path("train.py").resolve()


def verdict(line: int | None = None, quantity: str = "q", detail: str = "") -> Verdict:
    """A verdict that points at a line of the program."""
    source = f"{FILE}:{line}" if line else None
    evidence = Evidence(quantity, 1.0, ">", 0.0, source=source, detail=detail)
    return Verdict("GS000", "x", "x", Severity.ERROR, None, source, 0, (evidence,))


def treated(
    name: str,
    text: str,
    settings: Mapping[str, Any] | None = None,
    *,
    framework: str = "torch",
    history: History | None = None,
    **place: Any,
) -> str:
    """The text of the program with a remedy."""
    site = Site(verdict(**place), history or healthy_run(20), settings or {})
    changed = with_imports(rewrites()[name].apply(Source(FILE, text, framework), site))
    compile(changed.text, "train.py", "exec")
    return changed.text


def changes(before: str, after: str) -> list[str]:
    """The lines of a text that another does not have."""
    old = before.splitlines()
    return [line.strip() for line in after.splitlines() if line not in old]
