"""Where errors leave the program: one clear message and exit code 2."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import click
from gradscope.errors import GradscopeError


def clear_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turns what gradscope raises on purpose into a message on stderr and exit code 2."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except GradscopeError as error:
            click.echo(f"gradscope: {error}", err=True)
            sys.exit(2)

    return run
