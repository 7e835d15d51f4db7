"""Normalizations: a layer of normalization behind each layer with weights that an activation follows."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import pairwise

from gradscope.errors import CannotApply
from gradscope.program.activations import activation_of, is_hidden
from gradscope.program.names import called, dotted, keras_word, torch_word
from gradscope.program.source import Edit, Source, keyword

SIZES = {"Linear": "BatchNorm1d", "LazyLinear": "LazyBatchNorm1d", "Conv1d": "BatchNorm1d", "Conv2d": "BatchNorm2d"}
IN_KERAS = {"batch": "BatchNormalization", "layer": "LayerNormalization", "rms": "RMSNormalization"}


def normalized(source: Source, kind: str) -> Source:
    """The source with normalization. kind: "batch", "layer" or "rms"."""
    edits = _in_torch(source, kind) if source.framework == "torch" else _in_keras(source, kind)
    if not edits:
        raise CannotApply("no layer that an activation follows is written in this file")
    return source.edited(dict.fromkeys(edits))


def _in_torch(source: Source, kind: str) -> list[Edit]:
    edits = []
    for node in source.walk(ast.List, ast.Call):
        beside: Sequence[ast.expr] = node.args if isinstance(node, ast.Call) else node.elts  # type: ignore[attr-defined]
        for layer, follower in pairwise(beside):
            norm = _norm_of(source, layer, kind)
            hidden = activation_of(follower) and is_hidden(source, follower)
            if norm and hidden and not (isinstance(node, ast.Call) and called(node) != "Sequential"):
                end = source.span(layer)[1]
                edits.append(Edit(end, end, f", {norm}"))
    inside = {
        dotted(c.func) for a in source.calls() if activation_of(a) for c in ast.walk(a) if isinstance(c, ast.Call)
    }
    for statement in source.walk(ast.Assign):
        assert isinstance(statement, ast.Assign)
        norm = _norm_of(source, statement.value, kind)
        if norm and dotted(statement.targets[0]) in inside:
            text = f"{torch_word(source, 'nn')}.Sequential({source.of(statement.value)}, {norm})"
            edits.append(source.instead(statement.value, text))
    return edits


def _norm_of(source: Source, layer: ast.AST, kind: str) -> str | None:
    """The text of the normalization of what a layer puts out; None for what is no layer with weights."""
    if not isinstance(layer, ast.Call) or called(layer) not in SIZES:
        return None
    lazy = called(layer).startswith("Lazy")
    named = keyword(layer, "out_features") or keyword(layer, "out_channels")
    size = named or (layer.args[0 if lazy else 1] if len(layer.args) > (0 if lazy else 1) else None)
    if size is None:
        return None
    nn = torch_word(source, "nn")
    if kind == "rms":
        return f"{nn}.RMSNorm({source.of(size)})" if called(layer).endswith("Linear") else None
    if kind == "layer":
        dense = called(layer).endswith("Linear")
        return f"{nn}.LayerNorm({source.of(size)})" if dense else f"{nn}.GroupNorm(1, {source.of(size)})"
    return f"{nn}.{SIZES[called(layer)]}({'' if lazy else source.of(size)})"


def _in_keras(source: Source, kind: str) -> list[Edit]:
    word = f"{keras_word(source, 'layers')}.{IN_KERAS[kind]}()"
    edits = []
    for call in source.calls():
        given = keyword(call, "activation")
        weighted = called(call).startswith(("Dense", "Conv")) and called(call) != "Concatenate"
        if not weighted or given is None or not is_hidden(source, given):
            continue
        parent = source.parent_of(call)
        end = source.span(call)[1]
        if isinstance(parent, ast.Call) and parent.func is call:  # h = Dense(...)(h)
            edits.append(source.instead(parent, f"{word}({source.of(parent)})"))
        elif isinstance(parent, ast.Call) and called(parent) == "add":  # model.add(Dense(...))
            statement = source.statement_of(call)
            edits.append(source.after(statement, f"{source.of(parent.func)}({word})"))
        elif isinstance(parent, ast.List | ast.Tuple):
            edits.append(Edit(end, end, f", {word}"))
    return edits
