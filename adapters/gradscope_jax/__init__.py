"""gradscope for JAX: check of unchanged scripts, and observe(), watch() and read() for jitted steps of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradscope_jax.observation import observe, record
    from gradscope_jax.transformation import read, watch

HOMES = {"observe": "observation", "record": "observation", "read": "transformation", "watch": "transformation"}

__all__ = ["observe", "read", "record", "watch"]


def __getattr__(name: str) -> Any:
    """Public names are loaded when first used: the plugin beside them must not import JAX."""
    if name not in HOMES:
        raise AttributeError(f"module 'gradscope_jax' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"gradscope_jax.{HOMES[name]}"), name)
