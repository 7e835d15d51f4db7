"""Files: the sources of one program, the script first and then the modules beside it that it imports."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from gradscope.errors import CannotApply
from gradscope.program.source import Source

Change = Callable[[Source], Source]


@dataclass(frozen=True, slots=True)
class Files:
    """A program. sources: that of the script, and those of its own modules."""

    sources: tuple[Source, ...]

    @property
    def script(self) -> Source:
        """The source that is run."""
        return self.sources[0]

    def overlay(self) -> dict[str, str]:
        """File -> text, of the modules."""
        return {str(s.path): s.text for s in self.sources[1:]}

    def treated(self, change: Change) -> Iterator[Files]:
        """The program with one of its files changed: one for each file that the change fits. Raises CannotApply with
        what is told of the script when there is none."""
        reason: CannotApply | None = None
        fits = False
        for at, source in enumerate(self.sources):
            try:
                changed = change(source)
            except CannotApply as why:
                reason = reason or why
                continue
            fits = True
            yield replace(self, sources=(*self.sources[:at], changed, *self.sources[at + 1 :]))
        if not fits and reason is not None:
            raise reason

    def patch(self, changed: Files, root: Path) -> str:
        """What turns this program into another, as `git apply` takes it in that folder."""
        pairs = zip(self.sources, changed.sources, strict=True)
        return "".join(old.patch(new, root) for old, new in pairs if old.text != new.text)


def read(script: Path, framework: str, arguments: tuple[str, ...] = ()) -> Files:
    """The script and, found by its imports, the modules in its folder and below. Files that are no Python are left.
    arguments: those that it is run with."""
    root = script.resolve().parent
    found = {script.resolve(): Source(script.resolve(), text_of(script), framework, arguments)}
    waiting = [*found.values()]
    while waiting:
        for path in imported_files(waiting.pop(), root):
            if path not in found:
                source = module(path, framework, arguments)
                if source is not None:
                    found[path] = source
                    waiting.append(source)
    return Files(tuple(found.values()))


def module(path: Path, framework: str, arguments: tuple[str, ...] = ()) -> Source | None:
    """The source of a file; None where it cannot be read, or is no Python."""
    try:
        text = text_of(path)
        ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return None
    return Source(path, text, framework, arguments)


def text_of(path: Path) -> str:
    """The text of a Python file, in the encoding that it declares, with its own ends of lines."""
    raw = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(BytesIO(raw).readline)
    return raw.decode(encoding)


def imported_files(source: Source, root: Path) -> Iterator[Path]:
    """The files below a folder that a source imports."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
            start = root
        elif isinstance(node, ast.ImportFrom):
            start = source.path.parents[node.level - 1] if node.level else root
            prefix = f"{node.module}." if node.module else ""
            names = [node.module or "", *(prefix + a.name for a in node.names)]
        else:
            continue
        for name in filter(None, names):
            base = start.joinpath(*name.split("."))
            for path in (base.with_suffix(".py"), base / "__init__.py"):
                if path.is_file() and path.resolve().is_relative_to(root):
                    yield path.resolve()
