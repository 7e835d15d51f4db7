"""connect-parameter."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import called, dotted
from gradscope.program.source import Edit, Source
from gradscope.program.surroundings import is_evaluation
from gradscope.rewrites.smooth_operation import smooth_operation
from gradscope.rewriting import Site, rewrite

LEAVING = frozenset({"detach", "numpy", "cpu", "item"})
TYPES = {"np.float32": "float()", "numpy.float32": "float()", "np.float64": "double()", '"float32"': "float()"}


@rewrite
def connect_parameter(source: Source, site: Site) -> Source:
    """What cuts the way from the parameter to the loss, taken out: detach(), a detour through numpy, an operation
    without slope; in TensorFlow what is computed above the tape instead of under it."""
    if source.framework != "torch":
        return _under_the_tape(source, site)
    edits: list[Edit] = []
    for function in [
        n
        for n in source.walk(ast.FunctionDef)
        if isinstance(n, ast.FunctionDef) and n.name in {"forward", *_helpers(source)}
    ]:
        edits += [e for call in ast.walk(function) if isinstance(call, ast.Call) for e in _cut(source, call)]
    if not edits:
        end = max((source.span(c)[0] for c in source.calls() if called(c) == "backward"), default=0)
        before = [c for c in source.calls() if source.span(c)[0] < end and _leaves(source, c)]
        edits = [e for call in before for e in _cut(source, call)]
    if not edits:
        raise CannotApply("no detach(), item() or numpy() stands on the way to the loss in this file")
    return source.edited(dict.fromkeys(edits))


def _helpers(source: Source) -> set[str]:
    """Methods that forward() calls."""
    inside = [n for f in source.walk(ast.FunctionDef) if getattr(f, "name", "") == "forward" for n in ast.walk(f)]
    return {n.func.attr for n in inside if isinstance(n, ast.Call) and dotted(n.func).startswith("self.")}  # type: ignore[attr-defined]


def _leaves(source: Source, call: ast.Call) -> bool:
    """Whether a call outside of a model is about a tensor that had a gradient: data is converted without detach()."""
    return any(f".{word}()" in source.of(call) for word in ("detach", "item")) and not is_evaluation(source, call)


def _cut(source: Source, call: ast.Call) -> list[Edit]:
    """The edit that takes one call out, and leaves what stood before it or inside it."""
    name = called(call)
    end = source.span(call)[1]
    if name in LEAVING and not call.args and isinstance(call.func, ast.Attribute):
        return [Edit(source.span(call.func.value)[1], end, "")]
    if name in {"from_numpy", "as_tensor"} or (name in {"tensor", "Tensor"} and dotted(call.func).startswith("torch")):
        if len(call.args) == 1 and not isinstance(call.args[0], ast.List | ast.Constant | ast.Tuple):
            start, inner = source.span(call)[0], source.span(call.args[0])
            return [Edit(start, inner[0], ""), Edit(inner[1], end, "")]
        return []
    if name == "astype" and call.args and isinstance(call.func, ast.Attribute) and source.of(call.args[0]) in TYPES:
        return [Edit(source.span(call.func.value)[1], end, f".{TYPES[source.of(call.args[0])]}")]
    return []


def _under_the_tape(source: Source, site: Site) -> Source:
    """The statements right above a tape that assign what is used under it, moved under it."""
    for block in source.walk(ast.With):
        assert isinstance(block, ast.With)
        if not any("GradientTape" in source.of(i.context_expr) for i in block.items):
            continue
        beside = source.block_of(block)
        at = next(i for i, s in enumerate(beside) if s is block)
        used = {n.id for s in block.body for n in ast.walk(s) if isinstance(n, ast.Name)}
        moved = [s for s in beside[max(0, at - 3) : at] if isinstance(s, ast.Assign) and _assigned(s) & used]
        moved = [s for s in moved if any(isinstance(n, ast.Call) for n in ast.walk(s.value))]
        if moved:
            lines = "\n".join(source.of(s) for s in moved)
            return source.edited([*(source.without(s) for s in moved), source.before(block.body[0], lines)])
    try:
        return smooth_operation.change(source, site)
    except CannotApply:
        raise CannotApply(
            "nothing is computed right above a tape in this file, and no operation without slope"
        ) from None


def _assigned(statement: ast.Assign) -> set[str]:
    return {n.id for t in statement.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
