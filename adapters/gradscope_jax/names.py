"""The names people know: the paths of a tree of parameters, without the words that every path has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

NOISE = frozenset({"params", "states", "state", "value", "raw_value", "model"})
"""Words of containers: they lead or end a path and say nothing about the layer."""


@dataclass(slots=True)
class Leaf:
    """One trained array. module: the dotted name of the layer it belongs to; None until the graph tells."""

    name: str
    module: str | None
    shape: tuple[int, ...]
    dtype: str
    layer: int | None = None
    """Which of the layers that are stacked in the array; None for an array of its own."""
    at: int = 0
    """Its place among the arrays of the tree."""
    matrix: bool | None = None
    """Whether it multiplies what enters a layer; None as long as nobody knows."""
    fan_in: int | None = None
    """How many inputs each of its units sums up; None as long as nobody knows."""


def leaves_of(tree: Any, stacked: dict[int, int] | None = None) -> list[Leaf]:
    """The leaves of a tree of parameters, in its order. stacked: place of an array -> layers in it, one Leaf each."""
    found = [(path, array_of(x)) for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]]
    names = unique(trimmed([path_of(path) for path, _ in found]))
    matrices: dict[tuple[str, ...], int] = {}
    for name, (_, value) in zip(names, found, strict=True):
        matrices[name[:-1]] = matrices.get(name[:-1], 0) + (len(value.shape) > 1)
    leaves = []
    for at, (name, (_, value)) in enumerate(zip(names, found, strict=True)):
        shape, parent = tuple(value.shape), ".".join(name[:-1])
        crowded = matrices[name[:-1]] > 1
        full = ".".join(name)
        module = parent if not crowded else full if len(shape) > 1 else None
        count = (stacked or {}).get(at)
        if count is None:
            leaves.append(Leaf(full, module, shape, str(value.dtype), None, at))
            continue
        for layer in range(count):
            cut = ".".join([*name[:-1], str(layer)])
            leaves.append(Leaf(f"{cut}.{name[-1]}", cut, shape[1:], str(value.dtype), layer, at))
    return leaves


def cut(leaves: Sequence[Leaf], arrays: Sequence[Any]) -> list[Any]:
    """An array for each leaf, layers that are stacked one by one. arrays: those of the whole tree."""
    return [arrays[leaf.at] if leaf.layer is None else arrays[leaf.at][leaf.layer] for leaf in leaves]


def array_of(value: Any) -> Any:
    """The value itself when it has a shape and a dtype; a number as an array."""
    return value if hasattr(value, "shape") and hasattr(value, "dtype") else jnp.asarray(value)


def is_number(dtype: str) -> bool:
    """Whether a dtype holds numbers with a fraction: what can be trained."""
    return "float" in dtype or "complex" in dtype


def path_of(path: Sequence[Any]) -> tuple[str, ...]:
    """The words of a path of jax.tree_util."""
    words = (jax.tree_util.keystr((key,), simple=True) for key in path)
    return tuple(w for w in words if w != "")


def trimmed(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths without the leading words that all share, as long as those are numbers or words of containers, and without
    such words at the end."""
    while paths and all(len(p) > 1 for p in paths) and len({p[0] for p in paths}) == 1 and _is_noise(paths[0][0]):
        paths = [p[1:] for p in paths]
    while paths and all(len(p) > 1 and p[-1] in NOISE for p in paths):
        paths = [p[:-1] for p in paths]
    return [p or ("parameters",) for p in paths]


def _is_noise(word: str) -> bool:
    return word in NOISE or word.isdigit()


def unique(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths that differ from each other."""
    taken: set[tuple[str, ...]] = set()
    found = []
    for path in paths:
        free = path
        while free in taken:
            free = (*free[:-1], free[-1] + "'")
        taken.add(free)
        found.append(free)
    return found


def stacked_in(tree: Any, names: str | Sequence[str]) -> dict[int, int]:
    """Place of each array below one of the named subtrees -> how many layers its first axis counts."""
    wanted = (names,) if isinstance(names, str) else tuple(names)
    found = jax.tree_util.tree_flatten_with_path(tree)[0] if wanted else []
    paths = trimmed([path_of(path) for path, _ in found])
    return {
        at: jnp.shape(value)[0]
        for at, (path, (_, value)) in enumerate(zip(paths, found, strict=True))
        if jnp.shape(value) and any(tuple(w.split(".")) == path[: len(w.split("."))] for w in wanted)
    }
