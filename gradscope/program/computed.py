"""Computed: what is computed by a model, and not while data is made."""

from __future__ import annotations

import ast
import re

from gradscope.errors import CannotApply
from gradscope.program.names import dotted, model_names
from gradscope.program.places import PRODUCTS, holds_layer, is_application, values
from gradscope.program.source import Source
from gradscope.program.surroundings import FORWARD, Function, class_around, function_around

TRAINED = re.compile(r"requires_grad|Parameter\(|Variable\(")


def by_model(source: Source, node: ast.AST, depth: int = 3) -> bool:
    """Whether an expression stands in a model's own class, or holds what a model put out, or a product with weights."""
    around = class_around(source, node)
    if isinstance(around, ast.ClassDef) and any(isinstance(s, Function) and s.name in FORWARD for s in around.body):
        return True
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and _runs(source, part):
            return True
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult):
            if any(_is_weight(source, side) for side in (part.left, part.right)):
                return True
        elif isinstance(part, ast.Name) and depth:
            before = [v for v in values(source, part.id) if not any(n is part for n in ast.walk(v))]
            if any(by_model(source, v, depth - 1) for v in before if v.lineno <= part.lineno):  # type: ignore[attr-defined]
                return True
    return False


def _runs(source: Source, call: ast.Call) -> bool:
    """Whether a call runs a model or a layer, or is a product with weights."""
    name = dotted(call.func)
    if name.rpartition(".")[2] in PRODUCTS:
        return any(_is_weight(source, a) for a in call.args)
    try:
        models = model_names(source)
    except CannotApply:
        models = []
    plain = isinstance(call.func, ast.Name)
    return name in models or is_application(source, call) or (plain and holds_layer(source, values(source, name)))


def _is_weight(source: Source, node: ast.AST) -> bool:
    """A tensor that has a gradient, as far as the text tells: an attribute, or an argument, may be one."""
    name = dotted(node)
    if name.startswith("self."):
        return True
    around = function_around(source, node)
    given = {a.arg for a in ast.walk(around.args) if isinstance(a, ast.arg)} if isinstance(around, Function) else set()
    made = values(source, name) if name else []
    marked = bool(name) and f"{name}.requires_grad" in source.text
    return name in given or marked or any(TRAINED.search(source.of(v)) for v in made)
