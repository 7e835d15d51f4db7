"""Source: the text of a program and its syntax tree, and edits that leave everything else as it was written."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from gradscope.errors import CannotApply


@dataclass(frozen=True, slots=True)
class Edit:
    """Text that takes the place of what stands between two offsets, in characters; an insertion where they are one."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """A program of one file. framework: that of the run it was seen in. lines: of each line of the text the one that
    it was before any edit, 0 for a new one; None where nothing was edited."""

    path: Path
    text: str
    framework: str = "torch"
    arguments: tuple[str, ...] = ()
    """Those that the program is run with."""
    lines: tuple[int, ...] | None = None

    @property
    def tree(self) -> ast.Module:
        """Its syntax tree; not to be changed."""
        return parsed(self.text)

    def walk(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """All nodes of these kinds, in the order in which they are written."""
        found = [n for n in ast.walk(self.tree) if isinstance(n, kinds)]
        return iter(sorted(found, key=lambda n: (getattr(n, "lineno", 0), getattr(n, "col_offset", 0))))

    def calls(self) -> list[ast.Call]:
        """All calls, in the order in which they are written."""
        return [n for n in self.walk(ast.Call) if isinstance(n, ast.Call)]

    def of(self, node: ast.AST) -> str:
        """The text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node begins and ends, in characters."""
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def statement_of(self, node: ast.AST) -> ast.stmt:
        """The innermost statement that holds a node."""
        start, end = self.span(node)
        holding = [n for n in self.walk(ast.stmt) if self.span(n)[0] <= start and end <= self.span(n)[1]]
        if not holding:
            raise CannotApply("no statement there")
        return max(holding, key=lambda n: self.span(n)[0])  # type: ignore[return-value]

    def parent_of(self, node: ast.AST) -> ast.AST | None:
        """The node that directly holds another."""
        return next((p for p in ast.walk(self.tree) if any(c is node for c in ast.iter_child_nodes(p))), None)

    def function_of(self, node: ast.AST) -> ast.AST:
        """The innermost function that holds a node; the whole program where none does."""
        start, end = self.span(node)
        functions = [n for n in self.walk(ast.FunctionDef, ast.AsyncFunctionDef) if n is not node]
        holding = [n for n in functions if self.span(n)[0] <= start and end <= self.span(n)[1]]
        return max(holding, key=lambda n: self.span(n)[0], default=self.tree)

    def block_of(self, statement: ast.stmt) -> list[ast.stmt]:
        """The statements beside one, itself among them."""
        for node in ast.walk(self.tree):
            for field in ("body", "orelse", "finalbody"):
                block = getattr(node, field, None)
                if isinstance(block, list) and any(s is statement for s in block):
                    return block
        return [statement]

    # -- edits -----------------------------------------------------------------------------------------------------

    def edited(self, edits: Iterable[Edit]) -> Source:
        """The source with edits, none of which may touch another. Raises CannotApply when it is no Python any more, or
        when nothing changed."""
        text = self.text
        ordered = sorted(dict.fromkeys(edits), key=lambda e: (e.start, e.end))
        if any(a.end > b.start or (a.end > a.start and a.start == b.start) for a, b in pairwise(ordered)):
            raise CannotApply("two of its changes would meet in one place")
        for edit in reversed(ordered):
            text = text[: edit.start] + edit.text + text[edit.end :]
        if text == self.text:
            raise CannotApply("the program already says so")
        try:
            parsed(text)
        except SyntaxError as error:
            raise CannotApply(f"line {error.lineno} would be no Python: {error.msg}") from error
        return replace(self, text=text, lines=self._lines_of(text))

    def now(self, line: int) -> int | None:
        """Where a line of the text before any edit stands now; None when it is gone."""
        if self.lines is None:
            return line
        return self.lines.index(line) + 1 if line in self.lines else None

    def _lines_of(self, text: str) -> tuple[int, ...]:
        old, new = self.text.split("\n"), text.split("\n")
        known = self.lines or tuple(range(1, len(old) + 1))
        found: list[int] = []
        for kind, first, last, begin, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            same = kind == "equal" or (kind == "replace" and last - first == end - begin)
            found += known[first:last] if same else [0] * (end - begin)
        return tuple(found)

    def instead(self, node: ast.AST, text: str) -> Edit:
        """Other text for a node."""
        return Edit(*self.span(node), text)

    def before(self, statement: ast.stmt, lines: str) -> Edit:
        """Lines above a statement, indented like it."""
        self._alone(statement)
        start = self._offset(first_line(statement), 0)
        return Edit(start, start, indented(lines, statement.col_offset))

    def after(self, statement: ast.stmt, lines: str) -> Edit:
        """Lines below a statement, indented like it."""
        self._alone(statement)
        end = self._end_of_line(statement.end_lineno or statement.lineno)
        text = indented(lines, statement.col_offset)
        if end and self.text[end - 1] != "\n":
            text = "\n" + text
        return Edit(end, end, text)

    def without(self, statement: ast.stmt) -> Edit:
        """A statement's lines, gone; `pass` where its block would be empty."""
        self._alone(statement)
        start = self._offset(first_line(statement), 0)
        end = self._end_of_line(statement.end_lineno or statement.lineno)
        alone = len(self.block_of(statement)) == 1
        return Edit(start, end, indented("pass", statement.col_offset) if alone else "")

    def _alone(self, statement: ast.stmt) -> None:
        """Raises CannotApply where another statement stands in its lines: `a(); b()`, `if x: y()`."""
        before = self.text[
            self._offset(first_line(statement), 0) : self._offset(first_line(statement), statement.col_offset)
        ]
        end = self._offset(statement.end_lineno or statement.lineno, statement.end_col_offset or 0)
        behind = self.text[end : self._end_of_line(statement.end_lineno or statement.lineno)].strip()
        if before.strip() or (behind and not behind.startswith("#")):
            raise CannotApply(f"line {statement.lineno}: several statements stand in one line")

    def with_argument(self, call: ast.Call, name: str, value: str) -> Edit:
        """A keyword argument of a call, set or added."""
        given = keyword(call, name)
        if given is not None:
            return self.instead(given, value)
        last = max([*call.args, *(k.value for k in call.keywords)], key=lambda n: self.span(n)[1], default=None)
        if last is None:
            end = self.span(call)[1] - 1
            return Edit(end, end, f"{name}={value}")
        end = self.span(last)[1]
        generator = isinstance(last, ast.GeneratorExp) and self.text[end - 1] == ")" and len(call.args) == 1
        if generator and self.span(call)[1] == end:
            raise CannotApply(f"line {call.lineno}: its only argument is a bare generator")
        return Edit(end, end, f", {name}={value}")

    def _offset(self, line: int, column: int) -> int:
        starts = line_starts(self.text)
        start = starts[line - 1]
        end = starts[line] if line < len(starts) else len(self.text)
        return start + len(self.text[start:end].encode()[:column].decode(errors="ignore"))

    def _end_of_line(self, line: int) -> int:
        starts = line_starts(self.text)
        return starts[line] if line < len(starts) else len(self.text)

    # -- patches ---------------------------------------------------------------------------------------------------

    def patch(self, changed: Source, root: Path) -> str:
        """What turns this into another, as `git apply` takes it. root: the folder it is applied in."""
        name = self.path.resolve().relative_to(root.resolve()).as_posix()
        old, new = ([f"{x}\n" for x in t.split("\n")] for t in (self.text, changed.text))
        old, new = (_without_end(x) for x in (old, new))
        lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
        told = [x if x.endswith("\n") else f"{x}\n\\ No newline at end of file\n" for x in lines]
        return f"diff --git a/{name} b/{name}\n{''.join(told)}"


def _without_end(lines: list[str]) -> list[str]:
    """Lines with their ends, as the text had them: the last one has none."""
    return [*lines[:-1], last] if (last := lines[-1][:-1]) else lines[:-1]


@lru_cache(maxsize=64)
def parsed(text: str) -> ast.Module:
    """The syntax tree of a text."""
    return ast.parse(text)


@lru_cache(maxsize=64)
def line_starts(text: str) -> tuple[int, ...]:
    """The offset at which each line begins."""
    starts = [0]
    for at, character in enumerate(text):
        if character == "\n":
            starts.append(at + 1)
    return tuple(starts)


def first_line(statement: ast.stmt) -> int:
    """The line of a statement, or that of its first decorator."""
    decorators: Sequence[ast.expr] = getattr(statement, "decorator_list", ())
    return min([statement.lineno, *(d.lineno for d in decorators)])


def indented(lines: str, columns: int) -> str:
    """Lines behind so many columns, each with its end."""
    return "".join(f"{' ' * columns}{line}\n" if line else "\n" for line in lines.splitlines())


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument of a call."""
    return next((k.value for k in call.keywords if k.arg == name), None)
