"""correct-output."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.activations import output_activations, written
from gradscope.program.names import called
from gradscope.program.outputs import last_layer, without
from gradscope.program.source import Edit, Source, keyword
from gradscope.rewriting import Site, rewrite

OUTPUTS = frozenset({"softmax", "log_softmax", "sigmoid", "relu", "tanh"})


@rewrite
def correct_output(source: Source, site: Site) -> Source:
    """The activation before the loss: taken away, added or another, whichever the loss expects."""
    evidence, wanted = site.verdict.evidence[0], str(site.settings.get("output", "linear"))
    if evidence.quantity.startswith("softmax runs over the batch"):
        return _along_classes(source)
    given = evidence.detail.partition(" ")[0]
    given = "softmax" if evidence.quantity.startswith("units under the softmax") else given
    found = output_activations(source, frozenset({given}) if given in OUTPUTS else OUTPUTS, site.lines(source))
    if wanted == "linear":
        return _without(source, found)
    if not found:
        return last_layer(source, wanted)
    if wanted == "log_softmax" and isinstance(found[0], ast.Call):
        log = source.of(found[0].func).replace("softmax", "log_softmax").replace("Softmax", "LogSoftmax")
        return source.edited([source.instead(found[0].func, log)])
    text = written(source, found[0], wanted)
    if text is None:
        raise CannotApply(f"the output is {wanted} already")
    return source.edited([source.instead(found[0], text)])


def _without(source: Source, found: list[ast.expr]) -> Source:
    """Raw scores; where the loss is told that it gets those and does not, it is told the truth."""
    flags = [f for c in source.calls() if (f := keyword(c, "from_logits")) is not None]
    wrong = [f for f in flags if isinstance(f, ast.Constant) and f.value is True]
    if source.framework != "torch" and wrong:
        return source.edited([source.instead(f, "False") for f in wrong])
    return without(source, found)


def _along_classes(source: Source) -> Source:
    """softmax over the last dimension."""
    edits: list[Edit] = []
    for call in source.calls():
        if called(call) in {"softmax", "log_softmax", "Softmax", "LogSoftmax"}:
            name = "dim" if source.framework == "torch" else "axis"
            first = 0 if called(call)[0].isupper() or not call.args else 1
            if keyword(call, name) is None and len(call.args) > first:
                edits.append(source.instead(call.args[first], "-1"))
            else:
                edits.append(source.with_argument(call, name, "-1"))
    if not edits:
        raise CannotApply("no softmax is written in this file")
    return source.edited(edits)
