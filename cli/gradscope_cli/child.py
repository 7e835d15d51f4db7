"""A command in a process of its own: what a stranger wrote may bring the process down, which is told then."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from typing import Any

MARK = "GRADSCOPE_CHILD"


def is_child() -> bool:
    """Whether this process was started by run_in_child(); processes of its own are not told so."""
    return os.environ.pop(MARK, None) is not None


def run_in_child(arguments: list[str]) -> int:
    """Runs `gradscope ARGUMENTS` and gives its exit code, which is that of Popen.returncode where it died."""
    words = [sys.executable, "-m", "gradscope_cli", *arguments]
    environment = {**os.environ, MARK: "1"}
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    if all(map(has_descriptor, streams)):
        return subprocess.run(words, env=environment, check=False).returncode
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
    for stream, text in zip(streams, (done.stdout, done.stderr), strict=True):
        stream.write(text)
    return done.returncode


def has_descriptor(stream: Any) -> bool:
    """Whether what a child prints comes out where this stream does."""
    try:
        return stream.fileno() in {1, 2}
    except (AttributeError, OSError, io.UnsupportedOperation):
        return False


def death_of(code: int) -> str:
    """How a process died whose exit code is that; "" where it ended by itself."""
    if 0 <= code < 256:
        return ""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"{code & 0xFFFFFFFF:#x}"
