"""Surroundings: what a node of a program stands in, and whether that is a model, a training or an evaluation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

from gradscope.program.names import called
from gradscope.program.source import Source

LAYERS = re.compile(r"^(Lazy)?(Linear|Dense|Conv\w*|Embedding|LSTM|GRU|SimpleRNN|RNN|Bilinear|Bidirectional)$")
FORWARD = frozenset({"forward", "call", "__call__", "apply"})
GROWING = frozenset({"add", "add_module", "append", "extend", "insert"})
CONTAINERS = GROWING | {"Sequential", "ModuleList", "__init__"}
EVALUATIONS = re.compile(r"(?i)_*(eval|valid|test|predict|infer|accura|sampl|generat|score)")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def parent_of(source: Source, node: ast.AST) -> ast.AST | None:
    """The node that directly holds another."""
    return _parents(source.tree).get(id(node))


def holders(source: Source, node: ast.AST) -> Iterator[ast.AST]:
    """All nodes around one, the innermost first."""
    parent = parent_of(source, node)
    while parent is not None:
        yield parent
        parent = parent_of(source, parent)


def class_around(source: Source, node: ast.AST) -> ast.AST:
    """The innermost class that holds a node; the whole program where none does."""
    return next((n for n in holders(source, node) if isinstance(n, ast.ClassDef)), source.tree)


def function_around(source: Source, node: ast.AST) -> ast.AST:
    """The innermost function that holds a node; the whole program where none does."""
    return next((n for n in holders(source, node) if isinstance(n, Function)), source.tree)


def is_evaluation(source: Source, node: ast.AST) -> bool:
    """Whether an expression is computed without gradients, for a number that is printed or kept, or in a function that
    is named after what it evaluates."""
    for holder in holders(source, node):
        if isinstance(holder, ast.Call) and called(holder) in {"print", "item"}:
            return True
        heads: list[ast.expr] = []
        if isinstance(holder, ast.With | ast.AsyncWith):
            heads = [i.context_expr for i in holder.items]
        elif isinstance(holder, Function):
            heads = holder.decorator_list
            if EVALUATIONS.match(holder.name):
                return True
        if any(word in source.of(h) for h in heads for word in ("no_grad", "inference_mode")):
            return True
    return False


def in_model(source: Source, node: ast.AST) -> bool:
    """Whether an expression is part of a model: of its forward(), of a list of layers, of a layer."""
    for holder in holders(source, node):
        if isinstance(holder, Function) and holder.name in FORWARD | {"__init__", "build"}:
            return True
        if isinstance(holder, ast.Call) and called(holder) in GROWING:
            return parent_of(source, node) is holder
        if isinstance(holder, ast.Call) and (called(holder) in CONTAINERS or LAYERS.match(called(holder))):
            return True
        if isinstance(holder, ast.List):
            return True
    parent = parent_of(source, node)
    return isinstance(parent, ast.Call) and parent.func is node  # Activation("tanh")(x)


@lru_cache(maxsize=16)
def _parents(tree: ast.Module) -> dict[int, ast.AST]:
    return {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
