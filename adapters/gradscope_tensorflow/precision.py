"""Precision: a model of Keras as it would be in float32."""

from __future__ import annotations

from typing import Any

from gradscope.errors import CannotApply

from gradscope_tensorflow.anatomy import all_layers


def full_precision(model: Any, remedy: str) -> Any:
    """The same layers with the same weights, all of them of float32. Raises CannotApply where they are already."""
    policies = {layer.dtype_policy.name for layer in all_layers(model)}
    if policies <= {"float32", "float64"}:
        raise CannotApply(f"{remedy}: every layer computes in float32 already")
    made = type(model).from_config(widened(model.get_config()))
    if not made.built:
        made.build_from_config(model.get_build_config())
    made.set_weights([w.astype("float32") for w in model.get_weights()])
    return made


def widened(config: Any) -> Any:
    """A configuration whose every dtype is float32."""
    if isinstance(config, dict):
        return {k: "float32" if k == "dtype" and half(v) else widened(v) for k, v in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(widened(v) for v in config)
    return config


def half(dtype: Any) -> bool:
    """Whether a dtype, or the policy that a configuration describes, is one of half precision."""
    name = dtype["config"].get("name", "") if isinstance(dtype, dict) and "config" in dtype else dtype
    return isinstance(name, str) and "float16" in name
