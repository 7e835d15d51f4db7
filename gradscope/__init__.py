"""gradscope tells you why your training fails, proves the cure, and keeps it from coming back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradscope.errors import GradscopeError
    from gradscope.hookspecs import hookimpl
    from gradscope.report import Report
    from gradscope.rule import NotJudged
    from gradscope.scope import Scope, watch
    from gradscope.settings import Settings
    from gradscope.trials.workloads import trial
    from gradscope.verdict import Evidence, Remedy, Role, Severity, Verdict
    from gradscope.workload import Workload

__version__ = "0.1.0"

HOMES = {
    "Evidence": "verdict",
    "GradscopeError": "errors",
    "NonFiniteError": "errors",
    "NotJudged": "rule",
    "Origin": "origin",
    "Remedy": "verdict",
    "Report": "report",
    "Role": "verdict",
    "Scope": "scope",
    "Settings": "settings",
    "Severity": "verdict",
    "Verdict": "verdict",
    "Workload": "workload",
    "hookimpl": "hookspecs",
    "trial": "trials.workloads",
    "watch": "scope",
}

__all__ = [
    "Evidence",
    "GradscopeError",
    "NonFiniteError",
    "NotJudged",
    "Origin",
    "Remedy",
    "Report",
    "Role",
    "Scope",
    "Settings",
    "Severity",
    "Verdict",
    "Workload",
    "__version__",
    "hookimpl",
    "trial",
    "watch",
]


def __dir__() -> list[str]:
    """The public names, whether loaded or not."""
    return list(__all__)


def __getattr__(name: str) -> Any:
    """Public names are loaded when first used, so that `import gradscope` costs next to nothing."""
    if name not in HOMES:
        raise AttributeError(f"module 'gradscope' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"gradscope.{HOMES[name]}"), name)
    globals()[name] = value
    return value
