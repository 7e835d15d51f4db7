"""Places: whether what an expression computes ends a model or goes into one more of its layers, followed through
lists of layers, names and the functions of a program."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import lru_cache

from gradscope.program.names import called, calls_of, dotted
from gradscope.program.source import Source
from gradscope.program.surroundings import (
    CONTAINERS,
    FORWARD,
    GROWING,
    LAYERS,
    Function,
    class_around,
    function_around,
    holders,
    parent_of,
)

PRODUCTS = frozenset({"matmul", "mm", "bmm", "einsum", "dot", "linear", "addmm", "conv1d", "conv2d"})
LOSS = re.compile(r"(?i)loss|criterion|metric")
NO_LAYER = re.compile(r"(?i)log$|print|save|drop|flatten|pool|accuracy|norm$")
Seen = set[int]
"""The nodes that were looked at: each once, as what follows adds up."""


def ends(source: Source, node: ast.AST, seen: Seen | None = None) -> set[bool]:
    """True where a value is the last one of its model, False where it is handed on to a layer; both when it is used
    in both ways, nothing when it is not used."""
    seen = set() if seen is None else seen
    if id(node) in seen:
        return set()
    seen.add(id(node))
    child = node
    while not isinstance(child, ast.stmt):
        parent = parent_of(source, child)
        if parent is None:
            return {True}
        if _hands_on(source, parent, child):
            return {False}
        if _is_gate(source, parent, child):
            return set()
        child = parent
    if isinstance(child, ast.Return):
        return _of_function(source, child, seen)
    if isinstance(child, ast.Assign | ast.AugAssign | ast.AnnAssign):
        return _of_names(source, child, _targets(child, node), seen)
    grown = _grown(child)
    return {True} if grown is None else _of_list(source, child, grown, seen)


def _hands_on(source: Source, parent: ast.AST, child: ast.AST) -> bool:
    """Whether a node gives one of those below it to a layer, or puts layers behind it."""
    if isinstance(parent, ast.BinOp):
        return isinstance(parent.op, ast.MatMult)
    if isinstance(parent, ast.ListComp | ast.GeneratorExp):
        made = [c for c in ast.walk(parent.elt) if isinstance(c, ast.Call) and called(c)[:1].isupper()]
        return child is parent.elt and bool(made)
    if isinstance(parent, ast.List):
        return holds_layer(source, _later(parent.elts, child))
    if not isinstance(parent, ast.Call) or child is parent.func:
        return False
    if called(parent) in CONTAINERS:
        return holds_layer(source, _later(parent.args, child))
    return is_application(source, parent) or (called(parent) in PRODUCTS and any(a is child for a in parent.args))


def _is_gate(source: Source, parent: ast.AST, child: ast.AST) -> bool:
    """Whether a value weighs what a layer puts out."""
    if not isinstance(parent, ast.BinOp) or not isinstance(parent.op, ast.Mult):
        return False
    other = parent.right if child is parent.left else parent.left
    return any(isinstance(n, ast.Call) and is_application(source, n) for n in ast.walk(other))


def _targets(statement: ast.Assign | ast.AugAssign | ast.AnnAssign, node: ast.AST) -> set[str]:
    """The names that get a value; of `a, b = f(x), g(x)` the one beside it."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    found: set[str] = set()
    for target in targets:
        for name, value in _pairs(target, statement.value):
            if value is None or any(n is node for n in ast.walk(value)):
                found.add(name)
    return found - {""}


def _pairs(target: ast.expr, value: ast.expr | None) -> list[tuple[str, ast.expr | None]]:
    """Names and what they get, each its own where both sides are written apart."""
    if not isinstance(target, ast.Tuple | ast.List):
        return [(dotted(target), value)]
    apart = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
    values_ = value.elts if apart else [value] * len(target.elts)  # type: ignore[union-attr]
    return [pair for t, v in zip(target.elts, values_, strict=True) for pair in _pairs(t, v)]


def _later(beside: Sequence[ast.expr], child: ast.AST) -> list[ast.expr]:
    at = next((i for i, n in enumerate(beside) if n is child), len(beside))
    return list(beside[at + 1 :])


def holds_layer(source: Source, nodes: Sequence[ast.AST], depth: int = 2) -> bool:
    """Whether a layer with weights is made in one of several nodes, or a module of this file; a name counts as what
    is assigned to it."""
    for node in nodes:
        plain = node.value if isinstance(node, ast.Starred) else node
        if isinstance(plain, ast.Name | ast.Attribute) and depth:
            if holds_layer(source, values(source, dotted(plain)), depth - 1):
                return True
            continue
        words = {called(c) for c in ast.walk(node) if isinstance(c, ast.Call)}
        if any(LAYERS.match(w) for w in words) or words & _makers(source.tree):
            return True
    return False


@lru_cache(maxsize=16)
def _makers(tree: ast.Module) -> set[str]:
    """Classes of a program that are no losses, and functions that make layers."""
    nodes = list(ast.walk(tree))
    classes = {c.name for c in nodes if isinstance(c, ast.ClassDef) and not LOSS.search(c.name)}
    functions = [f for f in nodes if isinstance(f, ast.FunctionDef) and f.name not in FORWARD | {"__init__", "main"}]
    making = {f.name for f in functions if any(LAYERS.match(called(c)) for c in ast.walk(f) if isinstance(c, ast.Call))}
    return classes | making


def is_application(source: Source, call: ast.Call) -> bool:
    """Whether a call runs a layer: self.fc2(x), Dense(4)(x), a name that a layer has, the variable of a loop over
    layers."""
    if isinstance(call.func, ast.Call):
        return holds_layer(source, [call.func])
    function = call.func.value if isinstance(call.func, ast.Subscript) else call.func
    name = dotted(function)
    own = name.startswith("self.")
    if not name or not call.args or LOSS.search(name) or (isinstance(function, ast.Attribute) and not own):
        return False
    made = values(source, name)
    if made:
        return holds_layer(source, made)
    methods = {f.name for f in source.walk(ast.FunctionDef) if isinstance(f, ast.FunctionDef)}
    if own:
        return name.count(".") == 1 and not NO_LAYER.search(name) and name[len("self.") :] not in methods
    loops = [n for n in source.walk(ast.For) if isinstance(n, ast.For)]
    over = [x for x in loops if name in {n.id for n in ast.walk(x.target) if isinstance(n, ast.Name)}]
    return any("self." in source.of(x.iter) or holds_layer(source, [x.iter]) for x in over)


def values(source: Source, name: str) -> list[ast.AST]:
    """What is assigned to a name."""
    return list(_assigned(source.tree).get(name, ()))


@lru_cache(maxsize=16)
def _assigned(tree: ast.Module) -> dict[str, list[ast.AST]]:
    """What is assigned to each name of a program."""
    found: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name, value in [pair for t in targets for pair in _pairs(t, node.value)]:
                if value is not None and name:
                    found.setdefault(name, []).append(value)
    return found


def _of_function(source: Source, statement: ast.Return, seen: Seen) -> set[bool]:
    """What a returned value is where the function is called; that of forward() is the last of its class."""
    around = function_around(source, statement)
    if not isinstance(around, Function):
        return {True}
    owner = parent_of(source, around)
    used = calls_of(source, around.name)
    if around.name in FORWARD and isinstance(owner, ast.ClassDef):
        used = [c for c in calls_of(source, owner.name) if _is_part(source, c)]
    return _together(source, used, seen) if used else {True}


def _together(source: Source, nodes: Sequence[ast.AST], seen: Seen) -> set[bool]:
    found: set[bool] = set()
    for node in nodes:
        found |= ends(source, node, seen)
    return found


def _is_part(source: Source, made: ast.Call) -> bool:
    """Whether a module is made as an element of a list of layers."""
    parent = parent_of(source, made)
    return isinstance(parent, ast.List) or (isinstance(parent, ast.Call) and called(parent) in CONTAINERS)


def _of_names(source: Source, statement: ast.stmt, names: set[str], seen: Seen) -> set[bool]:
    """What a value is where its names are used: in its class when it is an attribute, else behind it in its function.
    A whole model that is called by a plain name is followed no further."""
    attribute = any(n.startswith("self.") for n in names)
    value = getattr(statement, "value", None)
    whole = isinstance(value, ast.Call) and called(value) in CONTAINERS and not attribute
    if isinstance(value, ast.List) and _grows_around(source, statement, names):
        return {False}
    loads = _loads(source, statement, names, attribute=attribute)
    found: set[bool] = set()
    used = False
    for load in loads:
        parent = parent_of(source, load)
        if isinstance(parent, ast.Attribute) and parent.attr in GROWING:
            added = source.statement_of(load)
            found |= {False} if _grown(added) in names and holds_layer(source, [added]) else set()
            continue
        call = parent if isinstance(parent, ast.Call) and parent.func is load else None
        if not (whole and call is not None):
            used = True
            found |= ends(source, call or load, seen)
    if not used and not found:
        return set() if attribute else {True}
    return {False} if False in found and whole else found


def _loads(source: Source, statement: ast.stmt, names: set[str], *, attribute: bool) -> list[ast.AST]:
    """Where names are read: anywhere in the class; or from their assignment, or the loop around it, to the next one."""
    scope = class_around(source, statement) if attribute else function_around(source, statement)
    found = [n for n in ast.walk(scope) if isinstance(n, ast.Name | ast.Attribute) and isinstance(n.ctx, ast.Load)]
    found = [n for n in found if dotted(n) in names]
    if attribute:
        return list(found)
    loop = next((n for n in holders(source, statement) if isinstance(n, ast.For | ast.While)), None)
    last = _replaced(source, statement, names)
    first = source.span(statement)[1] if loop is None or last < source.span(loop)[1] else source.span(loop)[0]
    return [n for n in found if first <= source.span(n)[0] <= last and not _is_other(source, n, scope)]


def _replaced(source: Source, statement: ast.stmt, names: set[str]) -> int:
    """Where the next statement ends that gives names another value whatever happens between."""
    outer = [statement, *(n for n in holders(source, statement) if isinstance(n, ast.stmt))]
    last = len(source.text)
    for inner in outer:
        if isinstance(inner, Function):
            break
        block = source.block_of(inner)
        behind = block[block.index(inner) + 1 :]
        again = [s for s in behind if isinstance(s, ast.Assign) and names & {dotted(t) for t in s.targets}]
        last = min([last, *(source.span(s)[1] for s in again)])
    return last


def _is_other(source: Source, load: ast.AST, scope: ast.AST) -> bool:
    """Whether a name is one of an inner function's own."""
    around = function_around(source, load)
    if around is scope or not isinstance(around, Function):
        return False
    own = {a.arg for a in ast.walk(around.args) if isinstance(a, ast.arg)}
    own |= {n.id for n in ast.walk(around) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return dotted(load) in own


def _grows_around(source: Source, statement: ast.stmt, names: set[str]) -> bool:
    """Whether layers are added to a list by a statement in a loop, or behind it."""
    loops = [n for n in holders(source, statement) if isinstance(n, ast.For | ast.While)]
    if isinstance(statement, ast.AugAssign) and holds_layer(source, loops):
        return True
    scope = function_around(source, statement)
    added = [n for n in ast.walk(scope) if isinstance(n, ast.AugAssign) and dotted(n.target) in names]
    return any(n.lineno > statement.lineno and holds_layer(source, [n.value]) for n in added)


def _grown(statement: ast.stmt) -> str | None:
    """The list or the model that a statement adds to; None where it adds to none."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or called(call) not in GROWING or not isinstance(call.func, ast.Attribute):
        return None
    return dotted(call.func.value)


def _of_list(source: Source, statement: ast.stmt, name: str, seen: Seen) -> set[bool]:
    """What an element is that is added to a list or a model: layers may be added behind it, or around it in a loop."""
    loops = [n for n in holders(source, statement) if isinstance(n, ast.For | ast.While)]
    around = function_around(source, statement)
    for call in calls_of(source, *GROWING):
        ours = isinstance(call.func, ast.Attribute) and dotted(call.func.value) == name
        behind = source.span(call)[0] > source.span(statement)[0] or any(n in loops for n in holders(source, call))
        if ours and behind and function_around(source, call) is around and holds_layer(source, call.args):
            return {False}
    return _of_names(source, statement, {name}, seen) or {True}
