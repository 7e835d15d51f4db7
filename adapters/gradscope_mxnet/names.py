"""The names people know: dotted names of blocks and of their parameters, as net.save_parameters() writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from gradscope_mxnet.source import Sources


class Names:
    """Names of everything reachable from the root blocks.

    With one root that has parameters, names are relative to it; with several, each is led by the name of its root.
    """

    def __init__(self, sources: Sources):
        self.sources = sources
        self.roots: dict[int, Any] = {}
        self._blocks: dict[int, str] = {}
        self._parameters: dict[int, tuple[str, str]] = {}
        self._owners: dict[int, Any] = {}
        self._places: dict[int, int] = {}

    def add_root(self, block: Any) -> None:
        """Makes a block a root."""
        self.roots[id(block)] = block
        self.refresh()

    def refresh(self) -> None:
        """Names everything anew: blocks may have come since."""
        self._blocks, self._parameters, self._owners = {}, {}, {}
        inner = {id(b) for root in self.roots.values() for b in below(root) if b is not root}
        outer = [r for key, r in self.roots.items() if key not in inner]
        weighty = [r for r in outer if has_parameters(r)]
        for root in outer:
            self._name(root, "" if len(weighty) < 2 and root in weighty else root.name)
        self._places = {key: at for at, key in enumerate(self._parameters)}

    def _name(self, block: Any, name: str) -> None:
        if id(block) in self._blocks:
            return
        self._blocks[id(block)] = name
        for key, parameter in block._reg_params.items():
            self._owners.setdefault(id(parameter), block)
            self._parameters.setdefault(id(parameter), (f"{name}.{key}" if name else key, name))
        for key, child in block._children.items():
            self._name(child, f"{name}.{key}" if name else key)
        for parameter in block.params.values():  # made by params.get() and held by no attribute
            self._owners.setdefault(id(parameter), block)
            self._parameters.setdefault(id(parameter), (parameter.name, name))

    def known(self, block: Any) -> bool:
        """Whether the block has a name already."""
        return id(block) in self._blocks

    def module(self, block: Any) -> str:
        """The dotted name; "" for the only root."""
        return self._blocks.get(id(block), block.name)

    def parameter(self, parameter: Any) -> tuple[str, str]:
        """(dotted name of the parameter, that of its block)."""
        return self._parameters.get(id(parameter), (parameter.name, ""))

    def place(self, parameter: Any) -> float:
        """Where the parameter stands among all; trainers hold theirs in the order of the alphabet."""
        return self._places.get(id(parameter), math.inf)

    def owner(self, parameter: Any) -> Any:
        """The block that holds the parameter, or None."""
        return self._owners.get(id(parameter))

    def all_parameters(self) -> Iterator[Any]:
        """Every parameter of every root, once."""
        seen: set[int] = set()
        for root in self.roots.values():
            for parameter in parameters_of(root):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter

    def source(self, block: Any) -> str | None:
        """file:line of the code that created the block."""
        return self.sources.of(block)


def below(block: Any) -> Iterator[Any]:
    """A block and everything in it."""
    yield block
    for child in block._children.values():
        yield from below(child)


def parameters_of(block: Any) -> Iterator[Any]:
    """The parameters of a block and of everything in it, some of them more than once. collect_params() leaves out
    those that are attributes and nothing else."""
    for one in below(block):
        yield from one._reg_params.values()
        yield from one.params.values()


def has_parameters(block: Any) -> bool:
    """Whether a block, or one in it, holds a parameter."""
    return any(b._reg_params or b.params.keys() for b in below(block))
