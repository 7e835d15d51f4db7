"""Settings: what [tool.gradscope] in pyproject.toml and the options of the command say, checked once, at the door."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from gradscope.errors import SettingsError, UnknownRule

FAIL_ON = ("error", "warning", "info", "never")


class Named(Protocol):
    """What a rule shows to the settings."""

    @property
    def code(self) -> str: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for.

    select, ignore: code prefixes or names. fail_on: the mildest severity that fails ("error", "warning", "info",
    "never"). steps: optimizer steps to observe under `check`. thresholds: rule name or code -> threshold -> number.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str = "error"
    steps: int = 200
    format: str = "text"
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def merged(self, **given: Any) -> Settings:
        """A copy in which what was given (not None, not empty) replaces what stood; thresholds are joined."""
        changes = {k: v for k, v in given.items() if v not in (None, (), {})}
        if "thresholds" in changes:
            joined = {k: dict(v) for k, v in self.thresholds.items()}
            for name, values in changes["thresholds"].items():
                joined.setdefault(name, {}).update(values)
            changes["thresholds"] = joined
        return replace(self, **changes)


def match_rules(keys: Iterable[str], rules: Sequence[Named], *, where: str, exact: bool = False) -> set[str]:
    """The names of the rules that the keys (code prefixes or names) stand for. Raises UnknownRule."""
    names: set[str] = set()
    for key in keys:
        wanted = key.strip()
        hits = {
            r.name
            for r in rules
            if wanted.lower() == r.name
            or (r.code == wanted.upper() if exact else bool(wanted) and r.code.startswith(wanted.upper()))
        }
        if not hits:
            known = [x for r in rules for x in (r.code, r.name)]
            near = nearest(wanted, known)
            hint = f"did you mean {', '.join(near)}?" if near else "`gradscope rule` lists them all"
            raise UnknownRule(f"{where}: no rule has the code or name {key!r}; {hint}")
        names |= hits
    return names


def nearest(wanted: str, known: Sequence[str]) -> list[str]:
    """What somebody may have meant: what begins alike, then what looks alike; often nothing."""
    begin = [k for k in known if wanted and k.lower().startswith(wanted.lower())][:5]
    alike = difflib.get_close_matches(wanted, known, 3, 0.6)
    return list(dict.fromkeys([*begin, *alike]))[:6]


def find_pyproject(start: Path) -> Path | None:
    """The nearest pyproject.toml at or above a folder."""
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder / "pyproject.toml"
    return None


def load_settings(path: Path | None) -> Settings:
    """The settings of a pyproject.toml; the defaults when there is none. Raises SettingsError."""
    if path is None:
        return Settings()
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    tools = document.get("tool", {})
    if not isinstance(tools, dict):
        raise SettingsError(f"{path}: tool must be a table, got {tools!r}")
    return parse_settings(tools.get("gradscope", {}), where=f"{path} [tool.gradscope]")


def parse_settings(table: Any, *, where: str) -> Settings:
    """Settings from a table. Raises SettingsError with the key, what it was and what was expected."""
    if not isinstance(table, dict):
        raise SettingsError(f"{where}: expected a table, got {table!r}")
    given: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in {"select", "ignore"}:
            if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                raise SettingsError(f"{where}: {key} must be a list of rule codes or names, got {value!r}")
            if name == "select" and not value:
                raise SettingsError(f"{where}: {key} must name at least one rule, got {value!r}; leave it out for all")
            given[name] = tuple(value)
        elif name == "fail_on":
            if value not in FAIL_ON:
                raise SettingsError(f"{where}: {key} must be one of {', '.join(FAIL_ON)}, got {value!r}")
            given[name] = value
        elif name == "steps":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SettingsError(f"{where}: {key} must be a whole number from 1, got {value!r}")
            given[name] = value
        elif name == "format":
            if not isinstance(value, str):
                raise SettingsError(f"{where}: {key} must be the name of a format, got {value!r}")
            given[name] = value
        elif name == "rules":
            given["thresholds"] = _thresholds(value, where)
        else:
            raise SettingsError(
                f"{where}: unknown key {key!r}; known keys: select, ignore, fail-on, steps, format, rules"
            )
    return Settings(**given)


def _thresholds(table: Any, where: str) -> dict[str, dict[str, float]]:
    if not isinstance(table, dict) or not all(isinstance(v, dict) for v in table.values()):
        raise SettingsError(f"{where}: rules must hold one table per rule, such as [tool.gradscope.rules.GS101]")
    return {k: dict(v) for k, v in table.items()}


def parse_override(text: str) -> tuple[str, str, float]:
    """(rule, threshold, number) of `RULE.threshold=value`. Raises SettingsError."""
    left, equals, right = text.partition("=")
    rule_name, dot, threshold = left.partition(".")
    try:
        if not (equals and dot and rule_name and threshold):
            raise ValueError
        return rule_name.strip(), threshold.strip().replace("-", "_"), float(right)
    except ValueError:
        raise SettingsError(f"--set {text!r}: expected RULE.threshold=number, such as GS201.limit=0.3") from None
