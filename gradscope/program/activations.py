"""Activations: where a program writes them, as modules, functions or arguments, and how others are written."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradscope.program.computed import by_model
from gradscope.program.names import called, calls_of, dotted, keras_word, torch_word
from gradscope.program.places import ends, values
from gradscope.program.source import Source, keyword
from gradscope.program.surroundings import class_around, function_around, in_model, is_evaluation

MODULES = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "softplus": "Softplus",
    "hardtanh": "Hardtanh",
}
"""Function -> module of torch."""
NAMES = {v: k for k, v in MODULES.items()}
KERAS_ONLY = {"exponential", "exp", "hard_sigmoid", "softsign"}
IN_KERAS = frozenset({"ReLU", "LeakyReLU", "ELU", "Softmax"})
"""Those that Keras has a layer for; the others are Activation("name")."""
KNOWN = frozenset(MODULES) | KERAS_ONLY


def activation_of(node: ast.AST) -> str | None:
    """Which activation an expression writes: nn.Tanh(), torch.tanh(x), F.relu(x), x.sigmoid(), "tanh"."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) and node.value in KNOWN else None
    if isinstance(node, ast.Call):
        name = called(node)
        if name in NAMES:
            return NAMES[name]
        if name == "Activation" and node.args:
            return activation_of(node.args[0])
        return name if name in KNOWN and name not in {"exp"} else None
    if isinstance(node, ast.Attribute | ast.Name):  # handed over: nn.Tanh, torch.tanh
        name = dotted(node).rpartition(".")[2]
        return NAMES.get(name, name if name in KNOWN and isinstance(node, ast.Attribute) else None)
    return None


def activations(source: Source) -> list[ast.expr]:
    """All activations that are written, in their order: calls, texts of `activation=`, classes that are handed over."""
    found: list[ast.expr] = []
    for node in source.walk(ast.Call):
        assert isinstance(node, ast.Call)
        if activation_of(node) is not None and not any(activation_of(v) for v in values(source, dotted(node.func))):
            found.append(node)  # and not the call of a module that is called like one: self.relu(x)
            continue
        given = keyword(node, "activation")
        if given is not None and activation_of(given) is not None:
            found.append(given)
        found += [a for a in node.args if isinstance(a, ast.Attribute) and dotted(a).rpartition(".")[2] in NAMES]
    for statement in source.walk(ast.Assign):
        value = statement.value  # type: ignore[attr-defined]
        named = [dotted(t).rpartition(".")[2] for t in statement.targets]  # type: ignore[attr-defined]
        if isinstance(value, ast.Constant | ast.Attribute) and activation_of(value) and _says(named):
            found.append(value)
    return sorted(found, key=source.span)


def _says(names: list[str]) -> bool:
    return any(n.lower() in {"act", "activation", "nonlinearity", "hidden_activation"} for n in names)


def is_output(source: Source, node: ast.expr) -> bool:
    """Whether an activation is that of the output wherever it is used: no layer of its model comes behind it."""
    return ends(source, node) == {True}


def is_hidden(source: Source, node: ast.expr) -> bool:
    """Whether an activation stands between layers wherever it is used; a softmax weighs there, and is none."""
    return activation_of(node) not in {"softmax", "log_softmax"} and ends(source, node) == {False}


def hidden_activations(source: Source) -> list[ast.expr]:
    """Those between layers."""
    return [n for n in activations(source) if is_hidden(source, n) and _is_models(source, n)]


def output_activations(source: Source, kinds: frozenset[str], lines: Sequence[int] = ()) -> list[ast.expr]:
    """Those of an output, of these kinds: those in one of the lines first, then those of a class or a statement that
    holds one, then a model's own; the last that is written first. None that only an evaluation computes."""
    found = [n for n in reversed(activations(source)) if activation_of(n) in kinds and is_output(source, n)]
    own = [n for n in found if in_model(source, n)]
    others = [n for n in found if n not in own and not is_evaluation(source, n) and _before_the_end(source, n)]
    others = [n for n in others if _is_models(source, n)]
    return sorted([*own, *others], key=lambda n: (_distance(source, n, lines), n not in own))


def _is_models(source: Source, node: ast.expr) -> bool:
    """Whether an activation is a module, a word, or a function of what a model computes: not of data."""
    function = isinstance(node, ast.Call) and called(node) in KNOWN
    return not function or in_model(source, node) or by_model(source, node)


def _distance(source: Source, node: ast.expr, lines: Sequence[int]) -> int:
    """0 in one of the lines, 1 in a class or a statement that holds one, 2 elsewhere."""
    around = class_around(source, node)
    scopes = [node, source.statement_of(node), *([around] if isinstance(around, ast.ClassDef) else [])]
    near = [any(s.lineno <= x <= s.end_lineno for x in lines) for s in scopes]  # type: ignore[attr-defined]
    return 0 if near[0] else 1 if any(near) else 2


def _before_the_end(source: Source, node: ast.expr) -> bool:
    """Whether the training still goes on where an expression stands: what comes behind it evaluates."""
    taken = calls_of(source, "backward", "gradient", "fit", "apply_gradients", "minimize")
    around = function_around(source, node)
    ends_at = [source.span(c)[0] for c in taken if function_around(source, c) is around]
    return not ends_at or source.span(node)[0] < max(ends_at)


def written(source: Source, node: ast.expr, wanted: str) -> str | None:
    """The text of another activation in the same form; None where it is that already."""
    if activation_of(node) == wanted:
        return None
    if isinstance(node, ast.Constant):
        return repr(wanted).replace("'", '"')
    if isinstance(node, ast.Attribute):
        module = dotted(node).rpartition(".")[2] in NAMES
        return _reworded(source, node, wanted, module=module)
    assert isinstance(node, ast.Call)
    name = called(node)
    if name == "Activation":
        return f'{source.of(node.func)}("{wanted}")'
    if name in NAMES:
        if source.framework != "torch" and MODULES.get(wanted) not in IN_KERAS:
            return f'{keras_word(source, "layers")}.Activation("{wanted}")'
        return f"{_reworded(source, node.func, wanted, module=True)}()"
    argument = source.of(node.args[0]) if node.args else source.of(node.func.value)  # type: ignore[attr-defined]
    return f"{_reworded(source, node.func, wanted, module=False)}({argument})"


def _reworded(source: Source, function: ast.expr, wanted: str, *, module: bool) -> str:
    """The name of another activation, beside the one that stands there where that is possible."""
    last = MODULES[wanted] if module else wanted
    holder = dotted(function).rpartition(".")[0]
    in_torch = {"relu", "sigmoid", "tanh", "softmax", "log_softmax", "selu"}
    if source.framework != "torch":
        return f"{keras_word(source, 'layers')}.{last}" if module else f"{keras_word(source, 'activations')}.{wanted}"
    if holder in {"torch", "nn", "torch.nn", "F", "nn.functional", "torch.nn.functional"} and (
        module or holder != "torch" or wanted in in_torch
    ):
        return f"{holder}.{last}"
    return torch_word(source, f"nn.{last}" if module else f"nn.functional.{wanted}")
