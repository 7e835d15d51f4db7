"""Outputs: the last thing that a model does, taken away, or one more."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradscope.errors import CannotApply
from gradscope.program.names import OPTIMIZERS, assignments, called, calls_of, model_names, receiver, torch_word
from gradscope.program.places import ends
from gradscope.program.source import Edit, Source
from gradscope.program.surroundings import CONTAINERS, FORWARD, GROWING, LAYERS, Function, holders


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
        return source.instead(node, _held(source, inner, parent))
    held = isinstance(parent, ast.Call) and called(parent) in CONTAINERS - GROWING
    beside = parent.args if held else parent.elts if isinstance(parent, ast.List) else []  # type: ignore[union-attr]
    if len(beside) > 1 and any(n is node for n in beside):
        return _element(source, node, beside)
    statement = source.statement_of(node)
    if (
        isinstance(statement, ast.Expr) and isinstance(parent, ast.Call) and called(parent) == "add"
    ):  # model.add(Activation("softmax"))
        return source.without(statement)
    if source.framework == "torch":
        return source.instead(node, f"{torch_word(source, 'nn')}.Identity()")
    return source.instead(node, f'{source.of(node.func).rpartition(".")[0]}.Activation("linear")'.lstrip("."))


def _held(source: Source, inner: ast.expr, parent: ast.AST | None) -> str:
    """The text of what stood in a call, in parentheses where its surroundings would take it apart."""
    text = source.of(inner)
    compound = isinstance(inner, ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp | ast.IfExp | ast.Lambda)
    binding = isinstance(parent, ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp | ast.Attribute | ast.Subscript)
    return f"({text})" if (compound and binding) or "\n" in text else text


def _element(source: Source, node: ast.expr, beside: Sequence[ast.expr]) -> Edit:
    """A list without one of its elements, and without the comma that is then too many."""
    at = next(i for i, n in enumerate(beside) if n is node)
    if at:
        return Edit(source.span(beside[at - 1])[1], source.span(node)[1], "")
    return Edit(source.span(node)[0], source.span(beside[1])[0], "")


def last_layer(source: Source, activation: str) -> Source:
    """The source with an activation behind the last layer of its model."""
    if source.framework != "torch":
        layers = [c for c in source.calls() if LAYERS.match(called(c)) and ends(source, c) == {True}]
        if not layers:
            raise CannotApply("no last layer is written in this file")
        return source.edited([source.with_argument(layers[-1], "activation", f'"{activation}"')])
    made = _model_made(source)
    returned = _returned(source, called(made) if made else "")
    containers = [c for c in calls_of(source, "Sequential") if c.args and not _inside(source, c)]
    containers = [c for c in containers if c is made or (made is None and not returned)]
    if containers:
        last = containers[-1].args[-1]
        if isinstance(last, ast.Call) and called(last) == "OrderedDict":
            raise CannotApply("the layers of the model have names")
        word = torch_word(source, f"nn.{activation.capitalize()}")
        end = source.span(last)[1]
        return source.edited([Edit(end, end, f", {word}()")])
    value = returned[-1].value if returned else None
    if value is None or isinstance(value, ast.Tuple | ast.Dict):
        raise CannotApply("the last layer of the model is not written in this file")
    return source.edited([source.instead(value, f"{torch_word(source, activation)}({source.of(value)})")])


def _model_made(source: Source) -> ast.Call | None:
    """The call that makes the model: of nn.Sequential, or of a class of this file."""
    try:
        name = model_names(source)[0]
    except CannotApply:
        return None
    classes = {c.name for c in source.walk(ast.ClassDef) if isinstance(c, ast.ClassDef)}
    calls = [n for s in assignments(source, name) for n in ast.walk(s.value) if isinstance(n, ast.Call)]
    return next((c for c in calls if called(c) in classes | {"Sequential"}), None)


def _returned(source: Source, name: str) -> list[ast.Return]:
    """The returns of forward() in a class; in all of them where none has that name."""
    classes = [c for c in source.walk(ast.ClassDef) if isinstance(c, ast.ClassDef)]
    chosen = [c for c in classes if c.name == name] or ([] if name == "Sequential" else classes)
    methods = [f for c in chosen for f in c.body if isinstance(f, Function) and f.name in FORWARD]
    return [n for f in methods for n in ast.walk(f) if isinstance(n, ast.Return)]


def _inside(source: Source, call: ast.Call) -> bool:
    """Whether one container stands in another."""
    return any(isinstance(n, ast.Call) and called(n) == "Sequential" for n in holders(source, call))


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
