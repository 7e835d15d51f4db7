"""Rates: where a program writes its learning rate, and the same program with another."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import (
    OPTIMIZERS,
    RATE_NAME,
    RATES,
    called,
    calls_of,
    keras_word,
    optax_calls,
    optimizers_by_name,
    rate_of,
)
from gradscope.program.numbers import number_edit, number_of, shown
from gradscope.program.source import Edit, Source, keyword


def with_rate(source: Source, rate: float, optimizer: str | None = None) -> Source:
    """The source whose optimizers are made with a learning rate. optimizer: only those of that class, if there are."""
    if source.framework == "jax":
        return _in_optax(source, rate)
    made = calls_of(source, *OPTIMIZERS)
    if made:
        chosen = [c for c in made if called(c) == optimizer] or made
        return source.edited([rate_edit(source, c, rate) for c in chosen])
    named = optimizers_by_name(source)
    if named:
        word = keras_word(source, "optimizers")
        edits = [source.instead(n, f"{word}.{kind}(learning_rate={shown(rate)})") for n, kind in named]
        return source.edited(edits)
    told = [v for c in source.calls() for name in RATES if (v := keyword(c, name)) is not None]
    if len(told) == 1:  # TrainingArguments(learning_rate=...)
        return source.edited([number_edit(source, told[0], rate)])
    return _named_rate(source, rate)


def _in_optax(source: Source, rate: float) -> Source:
    """The first argument of the functions of optax that make optimizers, or a number that is called a rate."""
    edits = []
    for call in optax_calls(source):
        given = keyword(call, "learning_rate") or next(iter(call.args), None)
        if given is not None:
            edits.append(number_edit(source, given, rate))
    return source.edited(dict.fromkeys(edits)) if edits else _named_rate(source, rate)


def _named_rate(source: Source, rate: float) -> Source:
    held = [n for n in source.walk(ast.Assign) if isinstance(n, ast.Assign) and number_of(source, n.value) is not None]
    rates = [n for n in held if isinstance(n.targets[0], ast.Name) and RATE_NAME.search(n.targets[0].id)]
    if len(rates) != 1:
        raise CannotApply("this file names no learning rate")
    return source.edited([source.instead(rates[0].value, shown(rate))])


def rate_edit(source: Source, call: ast.Call, rate: float) -> Edit:
    """The learning rate of one call, set or added."""
    given = rate_of(call, source.framework)
    if given is not None:
        return number_edit(source, given, rate)
    return source.with_argument(call, "lr" if source.framework == "torch" else "learning_rate", shown(rate))
