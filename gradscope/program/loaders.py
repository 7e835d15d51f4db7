"""Loaders: which of the calls that draw batches serve the training, told by names."""

from __future__ import annotations

import ast
import re

from gradscope.program.names import calls_of, target_of
from gradscope.program.source import Source

HELD_OUT = re.compile(
    r"(?i)(?<![a-z])[xy]?(test|val|valid|validation|eval|evaluation|dev|holdout)(?=s?(_|\d|\b|set|data|load|dl|ds|iter))"
)
TRAINED = re.compile(r"(?i)train")


def training_calls(source: Source, *names: str) -> list[ast.Call]:
    """The calls of these names as they are written, those that say "train" first; none that says test, val or eval.

    The name that a call is assigned to counts before what it is given.
    """
    ranked = [(rank, call) for call in calls_of(source, *names) if (rank := _rank(source, call)) is not None]
    return [call for _, call in sorted(ranked, key=lambda pair: pair[0])]


def _rank(source: Source, call: ast.Call) -> int | None:
    """0 for the training, 1 where the text does not tell, None for held-out data."""
    for text in (target_of(source, call) or "", _data(call)):
        if HELD_OUT.search(text):
            return None
        if TRAINED.search(text):
            return 0
    return 1


def _data(call: ast.Call) -> str:
    """What a call draws from: its receiver, its arguments, and what it is given as data by name."""
    parts: list[ast.expr] = [call.func.value] if isinstance(call.func, ast.Attribute) else []
    parts += [*call.args, *(k.value for k in call.keywords if k.arg in {"x", "y", "dataset"})]
    return " ".join(ast.unparse(p) for p in parts)
