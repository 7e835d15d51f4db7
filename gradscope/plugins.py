"""Plugins: who is loaded, and what all of them offer together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import pluggy

from gradscope import builtin, hookspecs
from gradscope.errors import PluginError, UsageError
from gradscope.history import History
from gradscope.reporter import Reporter
from gradscope.rule import Rule
from gradscope.settings import match_rules
from gradscope.verdict import Remedy, Verdict


class Plugins:
    """The plugins of one process. Those that could not be loaded are in `failures`, by name; the rest work."""

    def __init__(self, modules: Sequence[tuple[str, Any]] = ()):
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.manager.register(builtin, "gradscope")
        self.failures: dict[str, str] = {}
        for name, module in modules:
            self._register(name, lambda module=module: module)
        for point in entry_points(group=hookspecs.PROJECT):
            self._register(point.name, point.load)

    def _register(self, name: str, load: Any) -> None:
        try:
            self.manager.register(load(), name)
        except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything; it is named, not hidden
            self.failures[name] = f"{type(error).__name__}: {error}"

    def _collect(self, hook: str, kind: type, **arguments: Any) -> list[tuple[str, Any]]:
        collected: list[tuple[str, Any]] = []
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            try:
                offered = list(implementation.function(**{a: arguments[a] for a in implementation.argnames}))
                wrong = next((o for o in offered if not isinstance(o, kind)), None)
                if wrong is not None:
                    raise PluginError(f"{hook} must return a list of {kind.__name__}, got {wrong!r}")
            except Exception as error:  # noqa: BLE001 - as above
                self.failures[name] = f"{hook}: {type(error).__name__}: {error}"
                continue
            collected += [(name, o) for o in offered]
        return collected

    def rules(self) -> list[Rule]:
        """All rules, by code. A stranger's rule whose code or name is taken is refused and named in failures."""
        taken: dict[str, Rule] = {}
        for plugin, found in sorted(self._collect("gradscope_rules", Rule), key=lambda pair: pair[0] != "gradscope"):
            clash = next((r for r in taken.values() if found.code == r.code or found.name == r.name), None)
            if clash is not None:
                self.failures[plugin] = f"rule {found.code} {found.name} clashes with {clash.code} {clash.name}"
                continue
            taken[found.code] = Rule(found.code, found.name, found.judge, found.explains, found.thresholds, plugin)
        return sorted(taken.values(), key=lambda r: r.code)

    def rule(self, key: str) -> Rule:
        """The rule with this code or name. Raises UnknownRule."""
        rules = self.rules()
        names = match_rules([key], rules, where="rule", exact=True)
        return next(r for r in rules if r.name in names)

    def reporters(self) -> dict[str, Reporter]:
        """All report formats by name."""
        return {r.name: r for _, r in self._collect("gradscope_reporters", Reporter)}

    def reporter(self, name: str) -> Reporter:
        """One report format. Raises UsageError naming those that exist."""
        known = self.reporters()
        if name not in known:
            raise UsageError(f"unknown report format {name!r}; known formats: {', '.join(sorted(known))}")
        return known[name]

    def adapters(self) -> list[Any]:
        """All frameworks that can be watched, whether installed or not."""
        return [a for _, a in self._collect("gradscope_adapters", object)]

    def remedies(self, verdict: Verdict, history: History) -> list[Remedy]:
        """What all plugins suggest for a verdict, gradscope's own first."""
        told = self._collect("gradscope_suggest_remedies", Remedy, verdict=verdict, history=history)
        return [remedy for _, remedy in sorted(told, key=lambda pair: pair[0] != "gradscope")]

    def names(self) -> list[str]:
        """The loaded plugins."""
        return sorted(name for name, _ in self.manager.list_name_plugin())


@cache
def plugins() -> Plugins:
    """The plugins of this process, loaded once."""
    return Plugins()
