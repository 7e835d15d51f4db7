"""larger-batch."""

from __future__ import annotations

import ast
import re

from gradscope.errors import CannotApply
from gradscope.program.loaders import training_calls
from gradscope.program.names import called
from gradscope.program.numbers import number_edit, number_of
from gradscope.program.source import Source, keyword
from gradscope.rewriting import Site, rewrite

NAME = re.compile(r"(?i)^(batch|batch_size|bs|minibatch|per_device_train_batch_size)$")


@rewrite
def larger_batch(source: Source, site: Site) -> Source:
    """The number of samples that the loader of the training, fit() or a name says."""
    times = max(2.0, site.number("accumulate"))
    for call in training_calls(source, "DataLoader", "fit", "batch"):
        given = keyword(call, "batch_size")
        if given is None:  # DataLoader(data, 32) and dataset.batch(32)
            given = next(iter(call.args[{"DataLoader": 1, "batch": 0}.get(called(call), 9) :]), None)
        value = number_of(source, given)
        if given is not None and value:
            return source.edited([number_edit(source, given, round(value * times))])
    held = [n for n in source.walk(ast.Assign) if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
    for statement in held:
        value = number_of(source, statement.value)
        if NAME.match(statement.targets[0].id) and value:  # type: ignore[attr-defined]
            return source.edited([number_edit(source, statement.value, round(value * times))])
    raise CannotApply("this file names no batch size")
