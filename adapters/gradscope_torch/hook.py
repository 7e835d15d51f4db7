"""Hook: what is put on an object of the user's. It survives copying; torch.compile and torch.jit do not see it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch


class Hearing(threading.local):
    """Whether this thread is heard."""

    def __init__(self) -> None:
        self.off = False


hearing = Hearing()


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Inside, no hook and no function mode of any observer hears of this thread: a step is run again."""
    before, hearing.off = hearing.off, True
    try:
        yield
    finally:
        hearing.off = before


def hidden(action: Callable[..., Any]) -> Callable[..., Any]:
    """The action, with dynamo off while it runs: else it would compile every frame that runs between two of its own."""
    import torch._dynamo

    made: Callable[..., Any] = torch._dynamo.disable(action)
    return made


def left_alone(function: Any) -> None:
    """Dynamo never begins to compile with the function. What it calls is another matter."""
    from torch._dynamo.eval_frame import skip_code

    skip_code(function.__code__)


class Hook:
    """A hook that can be pickled and copied with the object it sits on: the copy does nothing, and loads where there is
    no gradscope.

    Inside what torch.compile traces it does nothing either, so that no graph breaks, nor in torch.jit.trace, nor while
    a step is run again; it gives None always.
    """

    __slots__ = ("action",)

    def __init__(self, action: Callable[..., Any]):
        left_alone(type(self).__call__)
        self.action = hidden(action)

    def __call__(self, *args: Any) -> None:
        if not (torch.compiler.is_dynamo_compiling() or torch.jit.is_tracing() or hearing.off):
            self.action(*args)

    def __reduce__(self) -> Any:
        return getattr, (contextlib.nullcontext(), "__exit__")  # it takes anything and gives None

    def __deepcopy__(self, memo: Any) -> Hook:
        return Hook(nothing)


class StepHook(Hook):
    """A hook of an optimizer. Inside what torch.compile traces it breaks the graph, which that of a step always does by
    itself: else no step would be seen."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        return self.action(*args)

    def __deepcopy__(self, memo: Any) -> StepHook:
        return StepHook(nothing)


def nothing(*_args: Any) -> None:
    """What a copied hook does."""
