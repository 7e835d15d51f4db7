"""The names people know: dotted names of blocks and of their parameters, as net.save_parameters() writes them."""

from __future__ import annotations

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

    def owner(self, parameter: Any) -> Any:
        """The block that holds the parameter, or None."""
        return self._owners.get(id(parameter))

    def all_parameters(self) -> Iterator[Any]:
        """Every parameter of every root, once."""
        seen: set[int] = set()
        for root in self.roots.values():
            for parameter in root.collect_params().values():
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


def has_parameters(block: Any) -> bool:
    """Whether a block, or one in it, holds a parameter."""
    return any(b._reg_params or b.params.keys() for b in below(block))
