"""Scratch: a working directory for one run, a copy of the user's, so that runs neither meet nor touch what is there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LARGEST_BYTES = 100_000_000
MOST_FILES = 3000
LEFT = frozenset({".git", ".hg", ".venv", "venv", "__pycache__", "node_modules", ".mypy_cache", ".pytest_cache"})
"""Folders that no training reads."""


def can_be_copied(folder: Path) -> bool:
    """Whether a folder is small enough to be copied for every run."""
    total = count = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in LEFT]
        for name in files:
            path = Path(parent, name)
            if path.is_symlink() or not path.is_file():
                continue
            total, count = total + path.stat().st_size, count + 1
            if total > LARGEST_BYTES or count > MOST_FILES:
                return False
    return True


def copied(folder: Path, target: Path) -> Path:
    """A copy of a folder, links as links."""
    shutil.copytree(folder, target, symlinks=True, ignore=lambda _folder, names: LEFT & set(names), dirs_exist_ok=True)
    return target
