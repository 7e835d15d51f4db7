"""standardize-input."""

from __future__ import annotations

import ast

import numpy as np

from gradscope.errors import CannotApply
from gradscope.program.names import calls_of, keras_word, model_names, receiver, torch_word
from gradscope.program.outputs import before_training
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite

NORMS = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}
"""Dimensions of an input -> the layer of torch that keeps a mean and a deviation of each of its features."""
METHODS = frozenset(
    {"parameters", "named_parameters", "train", "eval", "to", "state_dict", "zero_grad", "modules", "cpu"}
)


@rewrite
def standardize_input(source: Source, site: Site) -> Source:
    """A first layer that takes each feature's own mean off and divides by its deviation."""
    subjects = site.history["input"].subjects
    shape = tuple(subjects[0].traits.get("shape", ())) if subjects else ()
    if len(shape) < 2:
        raise CannotApply("no input of several features was seen")
    if source.framework != "torch":
        return _keras(source, site)
    if len(shape) not in NORMS:
        raise CannotApply(f"an input of shape {list(shape)} has no features to standardize one by one")
    name, nn = model_names(source)[0], torch_word(source, "nn")
    called = {c.func.attr for c in source.calls() if isinstance(c.func, ast.Attribute) and receiver(c) == name}
    if called - METHODS:
        raise CannotApply(f"{name}.{min(called - METHODS)}() is called: standardize the data where it is loaded")
    features = shape[1] if len(shape) > 2 else shape[-1]
    layer = f"{nn}.{NORMS[len(shape)]}({features}, affine=False)"
    return before_training(source, f"{{model}} = {nn}.Sequential({layer}, {{model}})")


def _keras(source: Source, site: Site) -> Source:
    """By what fit() is given, or by the numbers of this run."""
    layers = keras_word(source, "layers")
    sequential = keras_word(source, "Sequential")
    fits = [c for c in calls_of(source, "fit") if c.args and isinstance(c.args[0], ast.Name | ast.Subscript)]
    if fits:
        data = source.of(fits[0].args[0])
        lines = f"norm = {layers}.Normalization()\nnorm.adapt({data})\n{{model}} = {sequential}([norm, {{model}}])"
        return before_training(source, lines)
    table = site.history["input"]
    mean, deviation = (float(np.nanmedian(table.column(q))) for q in ("mean", "deviation"))
    layer = f"{layers}.Normalization(mean={mean:.6g}, variance={deviation**2:.6g})"
    return before_training(source, f"{{model}} = {sequential}([{layer}, {{model}}])")
