"""Which files are the user's own: what places in their code, and tracebacks, are cut to."""

from __future__ import annotations

import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import FrameType

STANDARD = sysconfig.get_paths()["stdlib"]
INSTALLED = sysconfig.get_paths()["purelib"]


@cache
def own_folders() -> tuple[str, ...]:
    """The folders of gradscope and of its adapters, wherever they are installed."""
    packages = {name.partition(".")[0] for name in sys.modules if name.startswith("gradscope")}
    files = (getattr(sys.modules.get(p), "__file__", None) for p in packages)
    return tuple(str(Path(f).parent) + "/" for f in files if f)


@cache
def is_library(filename: str) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    return filename.startswith((STANDARD, INSTALLED)) or "site-packages" in filename


@cache
def is_users(filename: str) -> bool:
    """Whether a file is the user's own: not of a library, not of gradscope, not generated."""
    return not (filename.startswith(("<", *own_folders())) or is_library(filename))


def users_line(frame: FrameType | None) -> str | None:
    """file:line of the innermost frame that is the user's own."""
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None
