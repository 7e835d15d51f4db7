"""Where errors leave the program: one clear message and exit code 2."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import click
from gradscope.errors import GradscopeError


def clear_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turns what gradscope raises, on purpose or not, into a message on stderr and exit code 2."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except GradscopeError as error:
            click.echo(f"gradscope: {error}", err=True)
            sys.exit(2)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - exit code 1 is kept for verdicts
            click.echo(f"gradscope: unforeseen {type(error).__name__}: {error}", err=True)
            sys.exit(2)

    return run
