"""Clipping: where a program clips its gradients, and the same program with clipping or with another limit."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import (
    OPTIMIZERS,
    called,
    calls_of,
    dotted,
    keras_word,
    model_names,
    optax_calls,
    optimizer_names,
    optimizers_by_name,
    receiver,
    step_calls,
    torch_word,
)
from gradscope.program.numbers import number_edit, shown
from gradscope.program.source import Edit, Source, keyword

TORCH = {"clip_grad_norm_": "max_norm", "clip_grad_value_": "clip_value", "clip_gradients": "gradient_clip_val"}
TRAINERS = {"Trainer": "gradient_clip_val", "TrainingArguments": "max_grad_norm"}
"""Classes that train -> the argument by which they clip: Lightning's, and that of Transformers."""
KERAS = ("clipnorm", "global_clipnorm", "clipvalue")


def clipped(source: Source, torch: str, keras: str, limit: float) -> Source:
    """The source with clipping. torch: the function of torch.nn.utils. keras: the argument of an optimizer."""
    if source.framework == "jax":
        made = optax_calls(source)
        if not made:
            raise CannotApply("no optimizer of optax is made in this file")
        clip = f"optax.clip_by_global_norm({shown(limit)})"
        return source.edited([source.instead(c, f"optax.chain({clip}, {source.of(c)})") for c in made])
    trainers = calls_of(source, *TRAINERS) if source.framework == "torch" else []
    if trainers and torch == "clip_grad_norm_" and not calls_of(source, "step"):
        return source.edited([source.with_argument(c, TRAINERS[called(c)], shown(limit)) for c in trainers])
    if source.framework == "torch":
        word, models = torch_word(source, f"nn.utils.{torch}"), model_names(source)
        lines = "\n".join(f"{word}({m}.parameters(), {shown(limit)})" for m in trained(source, models))
        above = {source.span(s): (s, c) for c in step_calls(source) for s in [source.statement_of(c)]}
        return source.edited([source.before(s, _unscaled(source, c) + lines) for s, c in above.values()])
    made = calls_of(source, *OPTIMIZERS)
    if made:
        return source.edited([source.with_argument(c, keras, shown(limit)) for c in made])
    named = optimizers_by_name(source)
    if not named:
        raise CannotApply("no optimizer is made in this file")
    word = keras_word(source, "optimizers")
    return source.edited([source.instead(n, f"{word}.{kind}({keras}={shown(limit)})") for n, kind in named])


def _unscaled(source: Source, step: ast.Call) -> str:
    """The line that a limit needs where a GradScaler takes the step, as gradients are multiplied until then."""
    optimizers = set(optimizer_names(source))
    given = [a for a in step.args if dotted(a) in optimizers]
    if not given or receiver(step) in optimizers:
        return ""
    line = f"{source.of(step.func.value)}.unscale_({source.of(given[0])})"  # type: ignore[attr-defined]
    return "" if any(source.of(c) == line for c in calls_of(source, "unscale_")) else f"{line}\n"


def trained(source: Source, models: list[str]) -> list[str]:
    """The models whose parameters an optimizer is given; the first one where that is not written."""
    inside = [c for o in calls_of(source, *OPTIMIZERS) for c in ast.walk(o) if isinstance(c, ast.Call)]
    held = {
        ast.unparse(c.func.value) for c in inside if isinstance(c.func, ast.Attribute) and c.func.attr == "parameters"
    }
    return [m for m in models if m in held] or models[:1]


def with_limit(source: Source, limit: float) -> Source:
    """The source whose clipping has another limit. Raises CannotApply where it does not clip."""
    edits: list[Edit] = []
    for call in source.calls():
        name = (TORCH | TRAINERS).get(called(call))
        given = keyword(call, name) if name else None
        if name and given is None and len(call.args) > 1:
            given = call.args[1]
        given = given or next((v for k in KERAS if (v := keyword(call, k)) is not None), None)
        if given is not None:
            edits.append(number_edit(source, given, limit))
    if not edits:
        raise CannotApply("no clipping stands in this file")
    return source.edited(dict.fromkeys(edits))
