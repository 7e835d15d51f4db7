"""Outputs: the last thing that a model does, taken away, or one more."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradscope.errors import CannotApply
from gradscope.program.activations import LAYERS, activation_of
from gradscope.program.names import OPTIMIZERS, called, calls_of, model_names, receiver, torch_word
from gradscope.program.source import Edit, Source


def without(source: Source, found: Sequence[ast.expr]) -> Source:
    """The source without an activation of the output, the first of those given."""
    if not found:
        raise CannotApply("the activation of the output is not written in this file")
    return source.edited([removal(source, found[0])])


def removal(source: Source, node: ast.expr) -> Edit:
    """What takes an activation away: an element of a list of layers, an argument, or a function around a value."""
    if isinstance(node, ast.Constant):
        return source.instead(node, '"linear"')
    parent = source.parent_of(node)
    if isinstance(parent, ast.keyword):
        return source.instead(node, '"linear"')
    assert isinstance(node, ast.Call)
    if called(node) in {"softmax", "sigmoid", "log_softmax", "relu", "tanh"} and (
        node.args or isinstance(node.func, ast.Attribute)
    ):
        inner = node.args[0] if node.args else node.func.value  # type: ignore[attr-defined]
        return source.instead(node, source.of(inner))
    beside = parent.args if isinstance(parent, ast.Call) else getattr(parent, "elts", [])
    if len(beside) > 1 and any(n is node for n in beside):
        return _element(source, node, beside)
    statement = source.statement_of(node)
    if isinstance(statement, ast.Expr) and isinstance(parent, ast.Call):  # model.add(Activation("softmax"))
        return source.without(statement)
    if source.framework == "torch":
        return source.instead(node, f"{torch_word(source, 'nn')}.Identity()")
    return source.instead(node, '"linear"') if isinstance(parent, ast.keyword) else _linear(source, node)


def _linear(source: Source, node: ast.Call) -> Edit:
    return source.instead(node, f'{source.of(node.func).rpartition(".")[0]}.Activation("linear")')


def _element(source: Source, node: ast.expr, beside: Sequence[ast.expr]) -> Edit:
    """A list without one of its elements, and without the comma that is then too many."""
    at = next(i for i, n in enumerate(beside) if n is node)
    if at:
        return Edit(source.span(beside[at - 1])[1], source.span(node)[1], "")
    return Edit(source.span(node)[0], source.span(beside[1])[0], "")


def last_layer(source: Source, activation: str) -> Source:
    """The source with an activation behind the last layer of its model."""
    if source.framework != "torch":
        layers = [c for c in source.calls() if LAYERS.match(called(c)) and not _is_inner(c)]
        if not layers:
            raise CannotApply("no layer is written in this file")
        return source.edited([source.with_argument(layers[-1], "activation", f'"{activation}"')])
    for call in reversed(source.calls()):
        if called(call) == "Sequential" and call.args and not isinstance(call.args[-1], ast.Starred):
            end = source.span(call.args[-1])[1]
            word = torch_word(source, f"nn.{activation.capitalize()}")
            return source.edited([Edit(end, end, f", {word}()")])
    returns = [n for n in source.walk(ast.Return) if _in_forward(source, n)]
    if returns and returns[-1].value is not None:  # type: ignore[attr-defined]
        value = returns[-1].value  # type: ignore[attr-defined]
        return source.edited([source.instead(value, f"{torch_word(source, activation)}({source.of(value)})")])
    raise CannotApply("the last layer of the model is not written in this file")


def _is_inner(call: ast.Call) -> bool:
    return any(activation_of(a) for a in call.args)


def _in_forward(source: Source, node: ast.AST) -> bool:
    start = source.span(node)[0]
    functions = [n for n in source.walk(ast.FunctionDef) if isinstance(n, ast.FunctionDef) and n.name == "forward"]
    return any(source.span(f)[0] <= start < source.span(f)[1] for f in functions)


def before_training(source: Source, lines: str) -> Source:
    """The source with lines above the statement that makes its optimizer, or compiles its model. `{model}` in them is
    the model's name."""
    name = model_names(source)[0]
    compiled = [c for c in calls_of(source, "compile") if receiver(c) == name]
    made = compiled or calls_of(source, *OPTIMIZERS)
    if not made:
        raise CannotApply("no optimizer is made in this file")
    statement = source.statement_of(made[0])
    if not compiled and source.framework != "torch":  # the optimizer may be made long before the model
        models = [n for n in source.walk(ast.Assign) if name in {ast.unparse(t) for t in n.targets}]  # type: ignore[attr-defined]
        if not models:
            raise CannotApply(f"no statement makes {name!r} in this file")
        return source.edited([source.after(models[-1], lines.replace("{model}", name))])  # type: ignore[arg-type]
    return source.edited([source.before(statement, lines.replace("{model}", name))])
