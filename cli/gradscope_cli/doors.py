"""Where errors and output leave the program: one clear message and exit code 2; a reader who leaves is no error."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import click
from gradscope.errors import GradscopeError, UsageError


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
        except BrokenPipeError:
            abandon(1)
            sys.exit(2)
        except Exception as error:  # noqa: BLE001 - exit code 1 is kept for verdicts
            click.echo(f"gradscope: unforeseen {type(error).__name__}: {error}", err=True)
            sys.exit(2)

    return run


def to_stdout(text: str) -> None:
    """Prints; silently nothing when the reader has gone (`| head`). Raises UsageError when stdout cannot take it."""
    try:
        click.echo(text)
    except BrokenPipeError:
        abandon(1)
    except OSError as error:
        abandon(1)
        raise UsageError(f"the report could not be written to stdout: {error.strerror or error}") from error


def abandon(descriptor: int) -> None:
    """Sends to nowhere what still waits for a descriptor, so that Python's own flush at the end cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def to_stderr() -> None:
    """Sends to stderr what is still printed to stdout, for good."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        os.dup2(2, 1)
