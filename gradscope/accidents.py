"""Accidents: what is done about a step whose loss or gradient is not finite."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from os import W_OK, X_OK, PathLike, access
from pathlib import Path
from typing import TYPE_CHECKING

from gradscope.errors import UsageError

if TYPE_CHECKING:
    from gradscope.adapter import Adapter

POLICIES = ("report", "skip", "raise", "ignore")


@dataclass(frozen=True, slots=True)
class Accidents:
    """policy: one of POLICIES. save: the folder that the first failing step is saved in."""

    policy: str = "report"
    save: Path | None = None

    @property
    def sought(self) -> bool:
        """Whether the origin is looked for at all."""
        return self.policy != "ignore"

    def check_offered(self, adapter: Adapter) -> None:
        """Raises UsageError where an adapter can neither withhold a step nor save it."""
        if adapter.replays or (self.policy in {"report", "ignore"} and self.save is None):
            return
        asked = f"on_nonfinite={self.policy!r}" if self.save is None else "on_nonfinite_save="
        raise UsageError(
            f"watch(): {asked} is not offered for {adapter.name}: only PyTorch steps can be withheld or saved"
        )


def accidents_of(policy: str, save: str | Path | None) -> Accidents:
    """What watch() was asked for. Raises UsageError for an unknown policy, or a folder that cannot be one."""
    if policy not in POLICIES:
        near = difflib.get_close_matches(str(policy), POLICIES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(map(repr, POLICIES))
        raise UsageError(f"watch(): on_nonfinite={policy!r}; expected one of {known}{hint}")
    if save is not None and (isinstance(save, bytes) or not isinstance(save, str | PathLike) or not str(save)):
        raise UsageError(f"watch(): on_nonfinite_save={save!r}; expected a folder, as text or a path")
    folder = None if save is None else Path(save)
    if folder is not None and policy == "ignore":
        raise UsageError("watch(): on_nonfinite='ignore' looks for no step that on_nonfinite_save= could save")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageError(
            f"watch(): on_nonfinite_save={str(save)!r} is a file; expected a folder, which may not exist yet"
        )
    if folder is not None:
        there = next(f for f in (folder.absolute(), *folder.absolute().parents) if f.exists())
        if not there.is_dir() or not access(there, W_OK | X_OK):
            raise UsageError(f"watch(): on_nonfinite_save={str(save)!r}: nothing can be written into {there}")
    return Accidents(policy, folder)
