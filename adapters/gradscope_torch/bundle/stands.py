"""What stands in a replay for objects of classes that a bundle does not name: rows and records with their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Unsaved:
    """What could not be saved. kind: the name of its class."""

    kind: str


class Row(tuple[Any, ...]):
    """A named tuple."""

    kind: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, kind: str, held: dict[str, Any]) -> Row:
        """A row of these values."""
        made = cls(held.values())
        made.kind, made.names = kind, tuple(held)
        return made

    def __getattr__(self, name: str) -> Any:
        names = vars(self).get("names", ())
        if name not in names:
            raise AttributeError(f"the {self.kind} that was saved has no {name!r}; it has {', '.join(names)}")
        return self[names.index(name)]


class Record(dict[str, Any]):
    """A dataclass, or a mapping that gives its values as attributes too, and by their place."""

    kind: str

    @classmethod
    def of(cls, kind: str, held: dict[str, Any]) -> Record:
        """A record of these values."""
        made = cls(held)
        made.kind = kind
        return made

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | slice):
            return tuple(v for v in self.values() if v is not None)[key]
        return super().__getitem__(key)

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            kind = vars(self).get("kind", "record")
            raise AttributeError(f"the {kind} that was saved has no {name!r}; it has {', '.join(self)}")
        return self[name]
