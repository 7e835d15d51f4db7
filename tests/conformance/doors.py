"""Doors: how a plan is trained in each framework under observation. A door whose framework is missing is skipped."""

from __future__ import annotations

from types import ModuleType

import pytest

NEEDS = {
    "numpy": ("numpy",),
    "torch": ("torch", "gradscope_torch.session"),
    "tensorflow": ("tensorflow", "keras", "gradscope_tensorflow.session"),
    "jax": ("jax", "optax", "gradscope_jax.session"),
    "mxnet": ("mxnet", "gradscope_mxnet.session"),
}
WAYS = [
    ("numpy", "session"),
    ("torch", "session"),
    ("torch", "watch"),
    ("tensorflow", "session"),
    ("tensorflow", "tape"),
    ("tensorflow", "watch"),
    ("jax", "session"),
    ("jax", "watch"),
    ("mxnet", "session"),
    ("mxnet", "watch"),
]
"""(framework, way). session: what `gradscope check` uses, and `tape` a loop of one's own under it; watch: what one line
in a loop does."""


def door(framework: str) -> ModuleType:
    """The module that builds plans in a framework. Skips the test when the framework or its adapter is missing."""
    for needed in NEEDS[framework]:
        pytest.importorskip(needed)
    return __import__(f"tests.conformance.{framework}_door", fromlist=["observed"])
