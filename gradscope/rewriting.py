"""@rewrite: a function from a Source and the Site of a verdict to the treated Source, tied to a remedy by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gradscope.errors import CannotApply
from gradscope.history import History
from gradscope.program.names import line_in
from gradscope.program.source import Source
from gradscope.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Site:
    """What a remedy is for: the verdict, the run it was given of, and the numbers that the remedy took from that."""

    verdict: Verdict
    history: History
    settings: Mapping[str, Any]

    def number(self, name: str) -> float:
        """One of the remedy's numbers. Raises CannotApply when the run did not tell it."""
        found = self.settings.get(name)
        if not isinstance(found, int | float):
            raise CannotApply(f"this run does not tell its {name.replace('_', ' ')}")
        return float(found)

    def line(self, source: Source, place: str | None = None) -> int | None:
        """The line of a place "file:line", or of the verdict, in the source as it is now; None outside of it."""
        at = line_in(self.verdict.source if place is None else place, str(source.path))
        return None if at is None else source.now(at)

    def lines(self, source: Source) -> list[int]:
        """The lines that the evidence of the verdict points at, in the source as it is now."""
        places = [self.verdict.source, *(e.source for e in self.verdict.evidence)]
        found = [at for p in dict.fromkeys(places) if p and (at := self.line(source, p)) is not None]
        return sorted(set(found))


Change = Callable[[Source, Site], Source]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """How the source of a program is changed for the remedy of that name."""

    name: str
    change: Change
    frameworks: tuple[str, ...] = ("torch", "tensorflow")

    def apply(self, source: Source, site: Site) -> Source:
        """The treated source. Raises CannotApply where the remedy does not fit."""
        if source.framework not in self.frameworks:
            raise CannotApply(f"gradscope writes it into programs of {' and '.join(self.frameworks)} alone")
        return self.change(source, site)


def rewrite(change: Change) -> Rewrite:
    """Makes a Rewrite of a function; its name is the function's, in kebab-case."""
    return Rewrite(change.__name__.replace("_", "-"), change)


def everywhere(change: Rewrite) -> Rewrite:
    """The same for JAX too."""
    return replace(change, frameworks=(*change.frameworks, "jax"))
