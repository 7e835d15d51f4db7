"""Session: observes whatever a script trains with jax.grad and optax, or by hand. What the script compiles runs op by
op in it, but for the computation of the gradients."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from gradscope.guard import guarded
from gradscope.patches import Patches
from gradscope.scope import Scope

from gradscope_jax.evaluation import VALUE_AND_GRAD, Evaluation, Evaluator
from gradscope_jax.made import Made
from gradscope_jax.making import made_by
from gradscope_jax.recorder import Recorder

OPEN: list[Session] = []
"""The sessions that are open, innermost last. What a library holds stays wrapped, and asks here."""


class Session:
    """Wrappers around jax.grad, jax.value_and_grad and optax, from `with` to its end."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.recorder = Recorder(scope)
        self.evaluator = Evaluator()
        self.depth = 0
        """How many wrapped calls are running: what they call in turn is theirs."""
        self.evaluate = guarded("jax graph", scope.failures, self._evaluate)
        self.plainly = guarded("jax gradients", scope.failures, self._note_plain)
        self.collect = guarded("optax.MultiSteps", scope.failures, _is_last)
        self._known: set[str] = set()
        self._patches = Patches()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Session:
        OPEN.append(self)
        self._stack.enter_context(jax.disable_jit())
        self._patches.wrap(jax, "value_and_grad", _value_and_grad)
        self._patches.wrap(jax, "grad", _grad)
        for name in ("optax", "equinox"):
            if not getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", True):
                self.imported(name)
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()
        self._patches.close()
        self.recorder.close()
        OPEN.remove(self)

    def _evaluate(self, found: list[Any], *call: Any) -> None:
        """Leaves result and Evaluation in `found`; nothing, when the function cannot be traced."""
        result = self.evaluator.evaluate(*call)
        if result is None:
            self.scope.limits["forward"] = "a loss could not be traced: its layers and targets were not seen"
        found.extend(result or ())

    def _note_plain(self, result: Any, argnums: Any, has_aux: bool, args: Any) -> None:
        """A function that cannot be traced gave its value and gradients: they are all that is known."""
        tree = args[argnums] if isinstance(argnums, int) else tuple(args[p] for p in argnums)
        weights, gradients = jax.tree.leaves(tree), jax.tree.leaves(result[1])
        value = result[0][0] if has_aux else result[0]
        self.recorder.evaluated(Evaluation(float(value), weights, gradients, tree=tree))

    def imported(self, name: str) -> None:
        """optax or equinox is there now."""
        if name in self._known:
            return
        self._known.add(name)
        library = sys.modules[name]
        self._patches.wrap(library, "apply_updates", _apply)
        if name == "optax":
            self._patches.wrap(library.GradientTransformation, "__new__", _transformation)
            self._patches.wrap(library.MultiSteps, "update", _collect)


def current() -> Session | None:
    """The innermost open session, unless it is at work already."""
    return OPEN[-1] if OPEN and not OPEN[-1].depth else None


def _value_and_grad(original: Any) -> Any:
    @wraps(original)
    def value_and_grad(fun: Any = None, *args: Any, **kwargs: Any) -> Any:
        if fun is None or not callable(fun):
            return original(fun, *args, **kwargs)
        return _observed(fun, original(fun, *args, **kwargs), _options(args, kwargs), lambda found, _aux: found)

    return value_and_grad


def _grad(original: Any) -> Any:
    @wraps(original)
    def grad(fun: Any = None, *args: Any, **kwargs: Any) -> Any:
        if fun is None or not callable(fun):
            return original(fun, *args, **kwargs)
        return _observed(fun, original(fun, *args, **kwargs), _options(args, kwargs), _gradient_alone)

    return grad


def _gradient_alone(found: Any, has_aux: bool) -> Any:
    """What jax.grad returns, of what jax.value_and_grad does."""
    return (found[1], found[0][1]) if has_aux else found[1]


def _options(args: Any, kwargs: Any) -> dict[str, Any]:
    return dict(zip(("argnums", "has_aux", "holomorphic", "allow_int"), args, strict=False)) | kwargs


def _observed(function: Any, plain: Any, options: dict[str, Any], pick: Callable[[Any, bool], Any]) -> Any:
    """A function that gives gradients, observed when it is called with numbers while a session is open."""
    has_aux = bool(options.get("has_aux"))

    @wraps(plain)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        session = current()
        if session is None or options.get("holomorphic") or options.get("allow_int") or _traced((args, kwargs)):
            return plain(*args, **kwargs)
        found: list[Any] = []
        session.depth += 1
        try:
            session.evaluate(found, function, options.get("argnums", 0), has_aux, args, kwargs)
        finally:
            session.depth -= 1
        if not found:
            result = VALUE_AND_GRAD(function, **options)(*args, **kwargs)
            if not _traced(result):
                session.plainly(result, options.get("argnums", 0), has_aux, args)
            return pick(result, has_aux)
        result, seen = found
        session.recorder.evaluated(seen)
        session.recorder.stepped()
        return pick(result, has_aux)

    return evaluate


def _traced(tree: Any) -> bool:
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def _transformation(original: Any) -> Any:
    def new(cls: Any, init: Any, update: Any) -> Any:
        session = current()
        if session is None:
            return original(cls, init, update)
        made: list[Made] = []
        guarded("optax", session.scope.failures, lambda: made.append(made_by(sys._getframe(3))))()
        return original(cls, init, _update(update, made[0] if made else Made("custom")))

    return new


def _update(original: Any, made: Made) -> Any:
    """The update of a transformation: of several that hold each other the outermost counts."""

    @wraps(original)
    def update(updates: Any, state: Any, *others: Any, **extra: Any) -> Any:
        session = current()
        if session is None or made.collects or _traced(updates):
            return original(updates, state, *others, **extra)
        session.depth += 1
        try:
            result = original(updates, state, *others, **extra)
        finally:
            session.depth -= 1
        params = others[0] if others else extra.get("params")
        session.recorder.updated(made, updates, state, params, result[0])
        return result

    update.gradscope_made = made  # type: ignore[attr-defined]
    return update


def _is_last(found: list[bool], steps: Any, state: Any) -> None:
    """Tells whether MultiSteps has the last gradient of several."""
    found.append(int(state.mini_step) == int(steps._every_k_schedule(state.gradient_step)) - 1)


def _collect(original: Any) -> Any:
    """MultiSteps calls its optimizer each time; only with the last gradient of several is that a step."""

    @wraps(original)
    def update(steps: Any, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        session = current()
        if session is None or _traced((updates, state)):
            return original(steps, updates, state, params, **extra)
        found = [True]
        session.collect(found, steps, state)
        last = found[-1]
        session.depth += not last
        try:
            return original(steps, updates, state, params, **extra)
        finally:
            session.depth -= not last

    return update


def _apply(original: Any) -> Any:
    @wraps(original)
    def apply_updates(params: Any, updates: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(params, updates, *args, **kwargs)
        session = current()
        if session is not None and not _traced((params, updates)):
            session.recorder.applied(params, updates, result)
            session.recorder.stepped()
        return result

    return apply_updates
