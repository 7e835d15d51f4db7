"""Program: what a source calls its things. Its optimizers, its models, its steps, found in the syntax tree."""

from __future__ import annotations

import ast
import re

from gradscope.errors import CannotApply
from gradscope.program.source import Source, keyword

OPTIMIZERS = frozenset(
    {
        *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "LBFGS", "Lion", "Muon"),
        *("NAdam", "Nadam", "RAdam", "RMSProp", "RMSprop", "Rprop", "SGD", "SparseAdam"),
    }
)
IN_OPTAX = frozenset(
    {
        *(
            "adabelief",
            "adadelta",
            "adafactor",
            "adagrad",
            "adam",
            "adamax",
            "adamw",
            "amsgrad",
            "lamb",
            "lion",
            "nadam",
        ),
        *("nadamw", "novograd", "radam", "rmsprop", "sgd", "yogi"),
    }
)
RATES = ("lr", "learning_rate")
RATE_NAME = re.compile(r"(?i)(^|_)(lr|rate|learning_rate|step_size|eta|alpha)$")


def dotted(node: ast.AST) -> str:
    """A name with its dots; what comes before a call or an index is left out: `f(x).step` is "step"."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))


def called(call: ast.Call) -> str:
    """The last word of what is called: "Adam" of torch.optim.Adam(...)."""
    return dotted(call.func).rpartition(".")[2]


def calls_of(source: Source, *names: str) -> list[ast.Call]:
    """The calls of functions, classes and methods by the last word of their names, as they are written."""
    return [c for c in source.calls() if called(c) in names]


def assignments(source: Source, name: str) -> list[ast.Assign]:
    """The statements `name = ...`, also of `self.name` when the name is written so."""
    found = [n for n in source.walk(ast.Assign) if isinstance(n, ast.Assign)]
    return [n for n in found if any(dotted(t) == name for t in n.targets)]


def target_of(source: Source, value: ast.AST) -> str | None:
    """What a value is assigned to: "optimizer" of `optimizer = Adam(...)`, "self.net" of `self.net = Net().to(d)`."""
    for statement in source.walk(ast.Assign, ast.AnnAssign):
        held = getattr(statement, "value", None)
        if held is not None and any(n is value for n in ast.walk(held)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]  # type: ignore[attr-defined]
            return dotted(targets[0]) or None
    return None


def optimizer_calls(source: Source) -> list[ast.Call]:
    """The calls that make an optimizer, whose classes the program names. Raises CannotApply without one."""
    found = calls_of(source, *OPTIMIZERS)
    if not found:
        raise CannotApply("no optimizer is made in this file")
    return found


def optax_calls(source: Source) -> list[ast.Call]:
    """The calls of optax that make an optimizer."""
    plain = {bound for name, bound in imported(source) if name.startswith("optax.")}
    found = calls_of(source, *IN_OPTAX)
    return [c for c in found if receiver(c) == "optax" or dotted(c.func) in plain]


def optimizers_by_name(source: Source) -> list[tuple[ast.Constant, str]]:
    """The texts in `compile(optimizer="adam")`, and the classes that they stand for."""
    given = [keyword(c, "optimizer") or next(iter(c.args), None) for c in calls_of(source, "compile")]
    found = [g for g in given if isinstance(g, ast.Constant)]
    return [(g, optimizer_class(g.value)) for g in found if isinstance(g.value, str)]


def optimizer_class(word: str) -> str:
    """The class of a Keras optimizer that is given by its name: "adam" is Adam."""
    found = next((o for o in sorted(OPTIMIZERS) if o.lower() == word.lower()), None)
    if found is None:
        raise CannotApply(f"no optimizer is called {word!r}")
    return "Nadam" if found == "NAdam" else found


def optimizer_names(source: Source) -> list[str]:
    """The variables that hold optimizers: "optimizer", "self.opt"."""
    found = [target_of(source, c) for c in calls_of(source, *OPTIMIZERS)]
    stepped = {receiver(c) for c in calls_of(source, "step")} & {receiver(c) for c in calls_of(source, "zero_grad")}
    return list(dict.fromkeys([n for n in found if n] + sorted(stepped - {""})))


def receiver(call: ast.Call) -> str:
    """What a method is called of: "model.encoder" of model.encoder.parameters()."""
    return dotted(call.func.value) if isinstance(call.func, ast.Attribute) else ""


def model_names(source: Source) -> list[str]:
    """What the models that are trained are called, the first of an optimizer first. Raises CannotApply without one."""
    if source.framework == "torch":
        inside = [c for o in calls_of(source, *OPTIMIZERS) for c in ast.walk(o) if isinstance(c, ast.Call)]
        found = [receiver(c) for c in inside if called(c) in {"parameters", "named_parameters"}]
        found += [receiver(c) for c in calls_of(source, "parameters", "train", "eval")]
    else:
        found = [receiver(c) for c in calls_of(source, "fit", "compile", "train_on_batch")]
        held = [n for n in source.walk(ast.Attribute) if isinstance(n, ast.Attribute)]
        found += [dotted(n.value) for n in held if n.attr in {"trainable_variables", "trainable_weights"}]
    names = list(dict.fromkeys(n for n in found if n and n != "self"))
    if not names:
        raise CannotApply("no model is trained in this file")
    return names


def step_calls(source: Source) -> list[ast.Call]:
    """The calls that take a step: `optimizer.step()`, `scaler.step(optimizer)`. Raises CannotApply without one."""
    names = set(optimizer_names(source))
    known = [c for c in calls_of(source, "step") if receiver(c) in names or any(dotted(a) in names for a in c.args)]
    if not known:
        raise CannotApply("no optimizer.step() stands in this file")
    return known


def rate_of(call: ast.Call, framework: str) -> ast.expr | None:
    """The learning rate that an optimizer is given: by name, or behind the parameters in torch, first in Keras."""
    named = next((v for name in RATES if (v := keyword(call, name)) is not None), None)
    place = 1 if framework == "torch" else 0
    return named or next(iter(call.args[place:]), None)


def line_in(place: str | None, path: str) -> int | None:
    """The line of a place "file:line" that is in a file; None elsewhere."""
    file, _, line = (place or "").rpartition(":")
    return int(line) if line.isdigit() and file == path else None


def torch_word(source: Source, path: str) -> str:
    """How a source writes something of torch, as short as its imports allow: "F.relu", "nn.Linear", "torch.relu".

    path: without the leading "torch.". Where nothing of it is imported: "torch." and the path, for with_imports() to
    complete.
    """
    return shortest(source, [f"torch.{path}"])


def keras_word(source: Source, path: str) -> str:
    """The same of Keras: "keras.layers.Rescaling", "layers.Rescaling", "tf.keras.layers.Rescaling", "Rescaling"."""
    return shortest(source, [f"keras.{path}", f"tensorflow.keras.{path}", f"keras.models.{path}"])


def shortest(source: Source, paths: list[str]) -> str:
    """One thing that has several dotted paths, by the import that leads nearest to it; the first path without one."""
    found = [
        (len(path) - len(name), bound + path[len(name) :])
        for name, bound in imported(source)
        for path in paths
        if path == name or path.startswith(f"{name}.")
    ]
    return min(found, default=(0, paths[0]))[1]


def imported(source: Source) -> list[tuple[str, str]]:
    """(what, name it has here) of every import: ("torch.nn.functional", "F")."""
    found = []
    for node in source.walk(ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            found += [
                (a.name if a.asname else a.name.partition(".")[0], a.asname or a.name.partition(".")[0])
                for a in node.names
            ]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [(f"{node.module}.{a.name}", a.asname or a.name) for a in node.names]
    return found


def with_import(source: Source, module: str) -> Source:
    """The source with `import module` beside its first import, unless that is there."""
    if any(name == module for name, _ in imported(source)):
        return source
    first = next(source.walk(ast.Import, ast.ImportFrom), None)
    plain = [s for s in source.tree.body if isinstance(s, ast.Import | ast.ImportFrom)]
    plain = [s for s in plain if not (isinstance(s, ast.ImportFrom) and s.module == "__future__")] or plain
    if first is None or not plain:
        raise CannotApply("the file imports nothing")
    return source.edited([source.before(plain[0], f"import {module}")])


def with_imports(source: Source) -> Source:
    """The source with the imports of torch and Keras that its edits rely on."""
    bound = {name for _, name in imported(source)}
    used = {n.id for n in source.walk(ast.Name) if isinstance(n, ast.Name)}
    for name in sorted({"torch", "keras"} & used - bound):
        if not assignments(source, name):
            source = with_import(source, name)
    return source


def tensorflow_word(source: Source, path: str) -> str:
    """The same of TensorFlow: "tf.reshape"; of keras.ops where only Keras is imported; of jax.numpy under JAX."""
    if source.framework == "jax":
        in_jax = {"nn.softmax": "jax.nn.softmax"}
        return shortest(source, [in_jax.get(path, f"jax.numpy.{path.rpartition('.')[2]}")])
    for name, bound in imported(source):
        if name == "tensorflow":
            return f"{bound}.{path}"
    return keras_word(source, f"ops.{path.rpartition('.')[2]}")


def held(source: Source, node: ast.expr) -> str:
    """The text of an expression, in parentheses where it needs them."""
    text = source.of(node)
    return f"({text})" if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp | ast.IfExp) else text
