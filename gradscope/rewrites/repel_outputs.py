"""repel-outputs."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import called, torch_word
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite

ALIKE = frozenset({"mse_loss", "MSELoss", "cosine_similarity", "criterion", "loss_fn"})


@rewrite
def repel_outputs(source: Source, site: Site) -> Source:
    """Two views that are only drawn together, told apart from the other samples of their batch instead (SimCLR's loss:
    Chen et al. 2020, arXiv:2002.05709)."""
    if source.framework != "torch":
        raise CannotApply("gradscope writes this one for PyTorch alone")
    lines = [x for s in site.history["loss"].subjects if (x := site.line(source, s.source)) is not None]
    for call in source.calls():
        pair = call.args if len(call.args) == 2 and all(isinstance(a, ast.Name) for a in call.args) else []
        if not pair or called(call) not in ALIKE or call.lineno not in lines:
            continue
        function, temperature = torch_word(source, "nn.functional"), site.number("temperature")
        first, second = (f"{function}.normalize({source.of(a)}, dim=1)" for a in pair)
        classes = f"{torch_word(source, 'arange')}(len({source.of(pair[0])}))"
        text = f"{function}.cross_entropy({first} @ {second}.T / {temperature:g}, {classes})"
        return source.edited([source.instead(call, text)])
    raise CannotApply("no loss of two outputs that are drawn together is written in this file")
