"""Initializers: weights drawn anew, right before the optimizer is made, or as the argument of each layer."""

from __future__ import annotations

from gradscope.errors import CannotApply
from gradscope.program.names import OPTIMIZERS, called, calls_of, model_names, torch_word
from gradscope.program.source import Edit, Source, keyword
from gradscope.program.surroundings import LAYERS

WITHOUT = frozenset({"Bidirectional", "Embedding", "RNN"})
"""Layers of Keras that take no kernel_initializer."""
TORCH = """for module in {model}.modules():
    if isinstance(module, ({nn}.Linear, {nn}.Conv1d, {nn}.Conv2d)):
        {nn}.init.{function}(module.weight{more})
        if module.bias is not None:
            {nn}.init.zeros_(module.bias)"""


def drawn_anew(source: Source, function: str, more: str, keras: str) -> Source:
    """The source whose layers draw their weights by another method. function, more: of torch.nn.init, and what follows
    its first argument. keras: the initializer's name."""
    if source.framework == "torch":
        made = calls_of(source, *OPTIMIZERS)
        if not made:
            raise CannotApply("no optimizer is made in this file")
        nn = torch_word(source, "nn")
        lines = "\n".join(TORCH.format(model=m, nn=nn, function=function, more=more) for m in model_names(source)[:1])
        return source.edited([source.before(source.statement_of(made[0]), lines)])
    edits: list[Edit] = []
    for call in source.calls():
        if not LAYERS.match(called(call)) or called(call) in WITHOUT:
            continue
        edits.append(source.with_argument(call, "kernel_initializer", f'"{keras}"'))
        if keyword(call, "bias_initializer") is not None:
            edits.append(source.with_argument(call, "bias_initializer", '"zeros"'))
    if not edits:
        raise CannotApply("no layer is made in this file")
    return source.edited(_joined(edits))


def _joined(edits: list[Edit]) -> list[Edit]:
    """Insertions at one place, in one."""
    found: dict[tuple[int, int], Edit] = {}
    for edit in edits:
        key = edit.start, edit.end
        text = found[key].text + edit.text if key in found and edit.start == edit.end else edit.text
        found[key] = Edit(*key, text)
    return list(found.values())
