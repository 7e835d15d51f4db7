"""correct-output."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.activations import activation_of, activations, output_activations, written
from gradscope.program.names import called
from gradscope.program.outputs import last_layer, without
from gradscope.program.source import Edit, Source, keyword
from gradscope.rewriting import Site, rewrite

ONE_UNIT, ACROSS, LABELS = "units under the softmax", "softmax runs over the batch", "labels per sample"


@rewrite
def correct_output(source: Source, site: Site) -> Source:
    """The activation before the loss: taken away, added or another, whichever the loss expects."""
    evidence = site.verdict.evidence[0]
    given, _, loss = evidence.detail.partition(" into ")
    if evidence.quantity.startswith((ONE_UNIT, LABELS)):
        return _instead(source, "softmax", "sigmoid")
    if evidence.quantity.startswith(ACROSS):
        return _along_classes(source)
    keras = source.framework != "torch"
    if loss == "binary_cross_entropy" and given not in {"sigmoid", "softmax"}:
        return _with_probabilities(source, given)
    if keras and loss in {"cross_entropy", "categorical_crossentropy"} and given == "sigmoid":
        return _instead(source, "sigmoid", "softmax")
    if keras and _flags(source):
        return source.edited(_flags(source))
    if loss in {"nll_loss", "kl_div"} and given == "softmax":
        return _instead(source, "softmax", "log_softmax", dimension=True)
    kinds = (
        frozenset({given})
        if given in {"softmax", "sigmoid", "relu", "tanh"}
        else frozenset({"softmax", "sigmoid", "relu"})
    )
    return without(source, output_activations(source, kinds))


def _instead(source: Source, old: str, new: str, *, dimension: bool = False) -> Source:
    found = output_activations(source, frozenset({old})) or [n for n in activations(source) if activation_of(n) == old]
    if not found:
        raise CannotApply(f"no {old} is written in this file")
    node = found[0]
    if dimension and isinstance(node, ast.Call):
        log = source.of(node.func).replace("softmax", "log_softmax").replace("Softmax", "LogSoftmax")
        return source.edited([source.instead(node.func, log)])
    text = written(source, node, new)
    if text is None:
        raise CannotApply(f"it is {new} already")
    return source.edited([source.instead(node, text)])


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


def _with_probabilities(source: Source, given: str) -> Source:
    """A sigmoid on the output."""
    found = output_activations(source, frozenset({given})) if given in {"relu", "tanh"} else []
    if found and (text := written(source, found[0], "sigmoid")):
        return source.edited([source.instead(found[0], text)])
    return last_layer(source, "sigmoid")


def _flags(source: Source) -> list[Edit]:
    """from_logits, turned where it is said."""
    edits = []
    for call in source.calls():
        flag = keyword(call, "from_logits")
        if isinstance(flag, ast.Constant) and flag.value is True:
            edits.append(source.instead(flag, "False"))
    return edits
