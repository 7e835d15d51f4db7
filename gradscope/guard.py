"""guarded: what makes sure that an observer's own mistake never reaches the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def guarded(part: str, failures: dict[str, str], action: Callable[..., Any]) -> Callable[..., None]:
    """An action whose own exception is noted once, by the name of its part, and switches that part off."""

    def run(*args: Any, **kwargs: Any) -> None:
        if part in failures:
            return
        try:
            action(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the monitor never stops the run
            failures[part] = f"{type(error).__name__}: {error}"

    return run
