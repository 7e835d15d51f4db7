"""Everything that gradscope raises on purpose, in one tree.

GradscopeError
├── UsageError            (ValueError)    an argument, option, file or setting is wrong
│   ├── SettingsError                     [tool.gradscope] or --set
│   ├── UnknownRule                       a code or name that no rule carries
│   ├── TargetError                       what was given to check cannot be checked
│   └── BundleError                       a saved step cannot be read, or does not fit the model
├── CannotApply           (RuntimeError)  a remedy does not fit this program
├── CannotJudge           (RuntimeError)  the run is fine for Python, but shows nothing to judge
├── NonFiniteError (ArithmeticError)      watch(on_nonfinite="raise"): before the weights change
├── ScriptFailed          (RuntimeError)  the user's own program raised
├── MissingFramework      (ImportError)   the adapter's framework is not installed
└── PluginError           (RuntimeError)  a plugin could not be loaded or breaks its contract
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradscope.origin import Origin


class GradscopeError(Exception):
    """The root: `except GradscopeError` catches all that gradscope raises."""


class UsageError(GradscopeError, ValueError):
    """An argument, option, file or setting is wrong; the text says what would work."""


class SettingsError(UsageError):
    """A table of settings, or an option that overrides one, is wrong."""


class UnknownRule(UsageError):
    """No rule carries this code or name."""


class TargetError(UsageError):
    """What was given to check is missing, not Python, or not what it was called."""


class BundleError(UsageError):
    """A saved step is incomplete, altered, of a newer version, or does not fit the model that it is replayed with."""


class CannotApply(GradscopeError, RuntimeError):
    """A remedy does not fit this program or workload; the text says why."""


class CannotJudge(GradscopeError, RuntimeError):
    """Nothing could be judged: no step, no parameter, no gradient. Never to be read as healthy."""


class NonFiniteError(GradscopeError, ArithmeticError):
    """A loss or gradient is not finite; raised before the optimizer's step. `origin` says where it was born, None
    where that could not be found."""

    def __init__(self, text: str, origin: Origin | None = None):
        super().__init__(text)
        self.origin = origin


class ScriptFailed(GradscopeError, RuntimeError):
    """The user's program raised; carries its traceback, cut to the user's own frames."""


class MissingFramework(GradscopeError, ImportError):
    """The framework that this call needs is not installed; the text gives the command."""


class PluginError(GradscopeError, RuntimeError):
    """A plugin could not be loaded, or returned what its hook does not allow."""
