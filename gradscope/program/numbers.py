"""Numbers: where a program writes a number that it uses somewhere else, and the same program with another one there."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradscope.program.names import assignments, calls_of
from gradscope.program.source import Edit, Source, keyword


def number_of(source: Source, node: ast.AST | None) -> float | None:
    """The number that an expression is, as far as the text tells."""
    if not isinstance(node, ast.expr):
        return None
    place = written(source, node)
    return None if place is None else literal(place)


def number_edit(source: Source, node: ast.expr, value: float) -> Edit:
    """Another number for an expression, where it is written; in the place of the expression where nobody knows."""
    return source.instead(written(source, node) or node, shown(value))


def written(source: Source, node: ast.expr, depth: int = 4) -> ast.expr | None:
    """Where the number of an expression is written: there; at the only assignment of its name; at the default of an
    option `--name` of argparse or of a field of a class; at the key of a table. None when there are several places."""
    if literal(node) is not None:
        return node
    if not depth:
        return None
    places = list(_places(source, node))
    if len(places) != 1:
        return None
    return written(source, places[0], depth - 1)


def _places(source: Source, node: ast.expr) -> Iterator[ast.expr]:
    """What an expression may stand for."""
    if isinstance(node, ast.Name):
        held = [s.value for s in assignments(source, node.id)]
        held += [s.value for s in _annotated(source, node.id) if s.value is not None]
        yield from held or _parameter(source, node)
    elif isinstance(node, ast.Attribute):
        yield from _defaults(source, node.attr)
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        for table in source.walk(ast.Dict):
            assert isinstance(table, ast.Dict)
            pairs = zip(table.keys, table.values, strict=True)
            yield from (v for k, v in pairs if isinstance(k, ast.Constant) and k.value == node.slice.value)
        for call in calls_of(source, "dict"):
            found = keyword(call, str(node.slice.value))
            if found is not None:
                yield found


def _defaults(source: Source, name: str) -> Iterator[ast.expr]:
    """Where an attribute gets its number: `parser.add_argument("--name", default=...)`, or the field of a class."""
    for call in calls_of(source, "add_argument"):
        options = [a.value for a in call.args if isinstance(a, ast.Constant)]
        default = keyword(call, "default")
        if default is None or f"--{name.replace('_', '-')}" not in [str(o).replace("_", "-") for o in options]:
            continue
        if not any(a.partition("=")[0] in options for a in source.arguments):  # else the default is not used
            yield default
    for made in source.walk(ast.ClassDef):
        for statement in made.body:  # type: ignore[attr-defined]
            if isinstance(statement, ast.AnnAssign | ast.Assign) and statement.value is not None:
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                    yield statement.value
    yield from (s.value for s in assignments(source, f"self.{name}"))


def _annotated(source: Source, name: str) -> list[ast.AnnAssign]:
    held = [n for n in source.walk(ast.AnnAssign) if isinstance(n, ast.AnnAssign)]
    return [n for n in held if isinstance(n.target, ast.Name) and n.target.id == name and not _in_class(source, n)]


def _in_class(source: Source, node: ast.AST) -> bool:
    return isinstance(source.parent_of(node), ast.ClassDef)


def _parameter(source: Source, node: ast.Name) -> Iterator[ast.expr]:
    """What a parameter of the function around is called with, by name; its default where no call names it."""
    for function in source.walk(ast.FunctionDef):
        assert isinstance(function, ast.FunctionDef)
        start, end = source.span(function)
        if not start <= source.span(node)[0] < end:
            continue
        given = [v for c in calls_of(source, function.name) if (v := keyword(c, node.id)) is not None]
        arguments = [*function.args.posonlyargs, *function.args.args]
        defaults = dict(zip([a.arg for a in reversed(arguments)], reversed(function.args.defaults), strict=False))
        only = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        defaults |= {a.arg: d for a, d in only if d is not None}
        yield from given or ([defaults[node.id]] if node.id in defaults else [])


def literal(node: ast.expr) -> float | None:
    """The number that is written; None for anything else."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def shown(value: float) -> str:
    """A number as one writes it: three digits."""
    return repr(float(f"{value:.3g}")) if value != int(value) or abs(value) >= 1e6 else str(int(value))
