"""Activations: where a program writes them, as modules, functions or arguments, and how others are written."""

from __future__ import annotations

import ast
import re

from gradscope.program.names import called, dotted, keras_word, torch_word
from gradscope.program.source import Source, keyword

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
KNOWN = frozenset(MODULES) | KERAS_ONLY
LAYERS = re.compile(r"^(Lazy)?(Linear|Dense|Conv\w*|Embedding|LSTM|GRU|SimpleRNN|RNN|Bilinear|Bidirectional)$")


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
        if activation_of(node) is not None:
            found.append(node)
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
    """Whether an activation is that of the output: no layer is written behind it in the same class, function or list
    of layers, or it is a softmax."""
    kind = activation_of(node)
    if kind in {"softmax", "log_softmax"}:
        return True
    scope = source.function_of(node)
    end = source.span(node)[1]
    loop = any(isinstance(p, ast.For | ast.While | ast.comprehension | ast.ListComp) for p in _around(source, node))
    layers = [c for c in ast.walk(scope) if isinstance(c, ast.Call) and (LAYERS.match(called(c)) or _is_own(c))]
    holder = next((c for c in layers if keyword(c, "activation") is node), None)
    later = [c for c in layers if source.span(c)[0] >= end and c is not holder]
    return not later and not loop


def _is_own(call: ast.Call) -> bool:
    """A layer of the user's model, as it is called in forward(): self.fc2(...)."""
    name = dotted(call.func)
    return name.startswith("self.") and activation_of(call) is None and bool(call.args)


def _around(source: Source, node: ast.AST) -> list[ast.AST]:
    start, end = source.span(node)
    held = [n for n in ast.walk(source.tree) if hasattr(n, "lineno") and n is not node]
    return [n for n in held if source.span(n)[0] <= start and end <= source.span(n)[1]]


def hidden_activations(source: Source) -> list[ast.expr]:
    """Those between layers."""
    return [n for n in activations(source) if not is_output(source, n)]


def output_activations(source: Source, kinds: frozenset[str]) -> list[ast.expr]:
    """Those of an output, of these kinds; the last that is written first."""
    return [n for n in reversed(activations(source)) if activation_of(n) in kinds and is_output(source, n)]


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
