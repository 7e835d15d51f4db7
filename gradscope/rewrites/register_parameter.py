"""register-parameter."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import OPTIMIZERS, called, calls_of, dotted, model_names, receiver, torch_word
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def register_parameter(source: Source, site: Site) -> Source:
    """What the optimizer lacks: layers out of a plain list, another module, the layer that came later; and gradients
    that are not cleared before they are used."""
    quantity = site.verdict.evidence[0].quantity
    if source.framework != "torch":
        return _unfrozen(source)
    if "cleared between" in quantity:
        return _cleared_before(source)
    if "in no model" in quantity:
        return _made_later(source)
    return _listed(source) or _handed_over(source)


def _unfrozen(source: Source) -> Source:
    held = [
        n for n in source.walk(ast.Assign) if isinstance(n, ast.Assign) and dotted(n.targets[0]).endswith("trainable")
    ]
    off = [n for n in held if isinstance(n.value, ast.Constant) and n.value.value is False]
    if not off:
        raise CannotApply("nothing is frozen in this file: hand the variables to apply_gradients()")
    return source.edited([source.instead(n.value, "True") for n in off])


def _cleared_before(source: Source) -> Source:
    """zero_grad() between backward and step, moved above backward."""
    passes = [source.statement_of(c) for c in calls_of(source, "backward")]
    clears = [source.statement_of(c) for c in calls_of(source, "zero_grad")]
    for first in passes:
        later = [c for c in clears if c in source.block_of(first) and source.span(c)[0] > source.span(first)[0]]
        if later:
            return source.edited([source.without(later[0]), source.before(first, source.of(later[0]))])
    raise CannotApply("no zero_grad() stands behind a backward() in this file")


def _made_later(source: Source) -> Source:
    """The optimizer made once more, after the layer was replaced."""
    made = calls_of(source, *OPTIMIZERS)
    if not made:
        raise CannotApply("no optimizer is made in this file")
    statement, name = source.statement_of(made[0]), model_names(source)[0]
    later = [n for n in source.walk(ast.Assign) if n in source.block_of(statement)]
    later = [n for n in later if dotted(n.targets[0]).startswith(f"{name}.") and n.lineno > statement.lineno]  # type: ignore[attr-defined]
    if not later:
        raise CannotApply(f"no part of {name!r} is replaced below the line that makes the optimizer")
    return source.edited([source.without(statement), source.after(later[-1], source.of(statement))])


def _listed(source: Source) -> Source | None:
    """Lists of layers as nn.ModuleList; None where there is none."""
    edits = []
    for statement in source.walk(ast.Assign, ast.AnnAssign):
        value = statement.value  # type: ignore[attr-defined]
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target  # type: ignore[attr-defined]
        name = dotted(target)
        if not name.startswith("self.") or not isinstance(value, ast.List | ast.ListComp):
            continue
        held = [n for n in ast.walk(value) if isinstance(n, ast.Call)]
        appended = [a for c in calls_of(source, "append") if receiver(c) == name for a in c.args]
        held += [n for a in appended for n in ast.walk(a) if isinstance(n, ast.Call)]
        if any(called(c)[:1].isupper() for c in held):
            edits.append(source.instead(value, f"{torch_word(source, 'nn')}.ModuleList({source.of(value)})"))
    return source.edited(edits) if edits else None


def _handed_over(source: Source) -> Source:
    """The parameters of the modules that are called, and that no optimizer holds; or all of the model, of which the
    optimizer was given a part."""
    made = calls_of(source, *OPTIMIZERS)
    if not made or not made[0].args:
        raise CannotApply("no optimizer is made in this file")
    around = source.function_of(made[0])
    inside = [n for n in ast.walk(around) if isinstance(n, ast.Call)]
    held = {receiver(c) for o in made for c in ast.walk(o) if isinstance(c, ast.Call) and called(c) == "parameters"}
    built = {dotted(n.targets[0]) for n in ast.walk(around) if isinstance(n, ast.Assign) and _builds(n)}
    missing = sorted((built & {dotted(c.func) for c in source.calls()}) - held)
    first = made[0].args[0]
    if missing:
        parts = ", ".join(f"*{m}.parameters()" for m in missing)
        return source.edited([source.instead(first, f"[*{source.of(first)}, {parts}]")])
    named = [receiver(c) for c in inside if called(c) in {"parameters", "named_parameters"} and receiver(c)]
    whole = next((root_of(n) for n in named), None)
    if whole is None or source.of(first) == f"{whole}.parameters()":
        raise CannotApply(
            "every module that is called is in an optimizer; the parameter is held in none that has a name"
        )
    return source.edited([source.instead(first, f"{whole}.parameters()")])


def root_of(name: str) -> str:
    """The model that a part belongs to: "model" of "model.classifier", "self.model" of "self.model.head"."""
    parts = name.split(".")
    return ".".join(parts[:2] if parts[0] == "self" else parts[:1])


def _builds(statement: ast.AST) -> bool:
    """Whether a statement makes a module: a class of torch.nn, or one that is defined in the file."""
    value = getattr(statement, "value", None)
    return isinstance(value, ast.Call) and called(value)[:1].isupper() and not called(value).endswith("Loss")
