"""The names people know: dotted names of layers and of their variables, below the model that holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from gradscope_tensorflow.source import Sources


class Names:
    """Names of everything reachable from the root layers.

    With one root that has weights, names are relative to it; with several, each is led by the name of its root.
    """

    def __init__(self, sources: Sources):
        self.sources = sources
        self.roots: dict[int, Any] = {}
        self._layers: dict[int, str] = {}
        self._variables: dict[int, tuple[str, str]] = {}
        self._owners: dict[int, Any] = {}

    def add_root(self, layer: Any) -> None:
        """Makes a layer a root."""
        self.roots[id(layer)] = layer
        self.refresh()

    def refresh(self) -> None:
        """Names everything anew: layers may have come, or been built, since."""
        self._layers, self._variables, self._owners = {}, {}, {}
        inner = {id(child) for root in self.roots.values() for child in root._flatten_layers(include_self=False)}
        outer = [r for key, r in self.roots.items() if key not in inner]
        weighty = [r for r in outer if r.variables or not r.built]
        for root in outer:
            alone = len(weighty) < 2 and root in weighty and has_children(root)
            self._name(root, "" if alone else root.name)

    def _name(self, layer: Any, name: str) -> None:
        if id(layer) in self._layers:
            return
        self._layers[id(layer)] = name
        children = [c for c in layer._flatten_layers(include_self=False, recursive=False) if c is not layer]
        shared = {n for n, many in Counter(c.name for c in children).items() if many > 1}
        for at, child in enumerate(children):
            own = child.name if child.name not in shared else attribute_of(layer, child) or f"{child.name}.{at}"
            self._name(child, f"{name}.{own}" if name else own)
        for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
            self._owners.setdefault(id(variable), layer)
            full = f"{name}.{variable.name}" if name else variable.name
            self._variables.setdefault(id(variable), (full, name))

    def known(self, layer: Any) -> bool:
        """Whether the layer has a name already."""
        return id(layer) in self._layers

    def module(self, layer: Any) -> str:
        """The dotted name; "" for the only root."""
        return self._layers.get(id(layer), layer.name)

    def parameter(self, variable: Any, fallback: str) -> tuple[str, str]:
        """(dotted name of the variable, that of its layer)."""
        return self._variables.get(id(variable), (fallback, ""))

    def owner(self, variable: Any) -> Any:
        """The layer that holds the variable, or None."""
        return self._owners.get(id(variable))

    def all_parameters(self) -> Iterator[Any]:
        """Every variable of every root that is meant to be trained, once."""
        seen: set[int] = set()
        for root in self.roots.values():
            for variable in root.trainable_variables:
                if id(variable) not in seen:
                    seen.add(id(variable))
                    yield variable

    def source(self, layer: Any) -> str | None:
        """file:line of the code that created the layer."""
        return self.sources.of(layer)


def attribute_of(layer: Any, child: Any) -> str | None:
    """Where a layer keeps another: `name`, or `name.place` in a list or mapping; None when it is nowhere found."""
    for key, value in vars(layer).items():
        if key.startswith("_"):
            continue
        if value is child:
            return key
        pairs = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
        )
        for place, held in pairs:
            if held is child:
                return f"{key}.{place}"
    return None


def has_children(layer: Any) -> bool:
    """Whether a layer is made of layers."""
    return len(layer._flatten_layers(include_self=False)) > 0
