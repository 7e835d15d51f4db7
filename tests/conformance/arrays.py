"""The table of arrays that are hard to reduce, and each adapter's own reductions, side by side."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

RANDOM = np.random.default_rng(0)
NAN, INF = math.nan, math.inf


@functools.cache
def table() -> dict[str, Any]:
    """Arrays by name."""
    usual = RANDOM.normal(size=(7, 5))
    return {
        "usual": usual.astype("f4"),
        "float64": usual,
        "float16": usual.astype("f2"),
        "zeros": np.zeros((3, 4), "f4"),
        "zeros with signs": np.array([0.0, -0.0, 1.0], "f4"),
        "constant": np.full((12, 7), 0.1, "f4"),
        "one element": np.array([-3.0], "f4"),
        "scalar": np.array(-3.0, "f4"),
        "empty": np.empty((0, 4), "f4"),
        "nan": np.array([1.0, NAN, 2.0], "f4"),
        "inf": np.array([[1.0, INF], [2.0, 3.0]], "f4"),
        "minus inf": np.array([-INF, 3.0], "f4"),
        "nan and inf": np.array([NAN, INF, 3.0], "f4"),
        "nan of float16": np.array([NAN, 1.0], "f2"),
        "nan and huge": np.array([NAN, 1e30], "f4"),
        "denormal": np.array([1e-42, -1e-40, 1e-3, 0.0], "f4"),
        "denormal alone": np.full(9, 1e-40, "f4"),
        "denormal float16": np.array([6e-8, 1e-7, 1.0], "f2"),
        "1e30": np.full((10, 10), 1e30, "f4"),
        "1e-30": np.full((10, 10), -1e-30, "f4"),
        "1e30 beside 1": np.array([1e30, 1.0], "f4"),
        "largest float16": np.full(1000, 65504, "f2"),
        "1e200 of float64": np.full(4, 1e200),
        "1e-200 of float64": np.full(4, 1e-200),
    }


@functools.cache
def brain_table() -> dict[str, Any]:
    """Arrays of bfloat16, no type of numpy's own: ml_dtypes, which comes with JAX and TensorFlow, brings it."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    usual = RANDOM.normal(size=(7, 5))
    return {
        "bfloat16": usual.astype(bfloat16),
        "inf of bfloat16": np.array([INF, 1.0], bfloat16),
        "denormal bfloat16": np.array([1e-39, 1e-40, 1.0], bfloat16),
        "1e30 of bfloat16": np.full(10, 1e30, bfloat16),
        "a long bfloat16": np.full(4096, 1.01, bfloat16),
    }


def array_of(name: str) -> Any:
    """An array of the table. Skips the test where its type is not there."""
    return table()[name] if name in table() else brain_table()[name]


NAMES = """usual; float64; float16; bfloat16; zeros; zeros with signs; constant; one element; scalar; empty; nan; inf;
minus inf; nan and inf; nan of float16; inf of bfloat16; nan and huge; denormal; denormal alone; denormal float16;
denormal bfloat16; 1e30; 1e30 of bfloat16; 1e-30; 1e30 beside 1; largest float16; 1e200 of float64; 1e-200 of float64;
a long bfloat16""".replace("\n", " ").split("; ")
"""The keys of table(), which must not be made while tests are collected."""


@functools.cache
def long_array() -> Any:
    """Ten million numbers."""
    return np.random.default_rng(1).normal(size=10**7).astype("f4")


SPARSE = (np.array([4, 1, 4]), np.array([[3.0, 0.0], [1e-40, 2.0], [1.0, 0.0]], "f4"), (6, 2))
"""(rows, values, shape): one row comes twice, and counts as the sum."""


def sparse_as_dense() -> Any:
    """The same array, with all its zeros."""
    rows, values, shape = SPARSE
    whole = np.zeros(shape, "f4")
    np.add.at(whole, rows, values)
    return whole


@dataclass(frozen=True)
class Reductions:
    """What an adapter reduces by itself; None for what it leaves to gradscope.statistics, or does not have.

    norm and details: of a gradient, given as an array of numpy, which is handed to the framework first. change: of
    weights before and after. sparse: (norm, details) of SPARSE.
    """

    norm: Callable[[Any], float]
    details: Callable[[Any], Any] | None = None
    change: Callable[[Any, Any], Any] | None = None
    sparse: Callable[[], tuple[float, Any]] | None = None


def torch_reductions() -> Reductions:
    """gradscope_torch.measure, in the way the adapter uses it: fast, and exactly where the fast way gives out."""
    import torch

    from gradscope_torch import measure
    from gradscope_torch.objective import SMALLEST

    def tensor(array: Any) -> Any:
        if array.dtype.name == "bfloat16":
            return torch.from_numpy(np.asarray(array, "f4")).to(torch.bfloat16)
        return torch.from_numpy(array.copy())

    def norm_of(one: Any) -> float:
        found = float(measure.norms([one], measure.is_plain(one))[0])
        return found if SMALLEST <= found < INF else float(measure.exact_norm(one))

    def sparse() -> tuple[float, Any]:
        rows, values, shape = SPARSE
        places = torch.from_numpy(rows)[None]
        one = torch.sparse_coo_tensor(places, torch.from_numpy(values), shape, check_invariants=True)
        return norm_of(one), measure.gradient_statistics(one).tolist()

    return Reductions(
        lambda a: norm_of(tensor(a)),
        lambda a: measure.gradient_statistics(tensor(a)).tolist(),
        lambda before, after: measure.parameter_statistics(tensor(before), tensor(after)).tolist(),
        sparse,
    )


def tensorflow_reductions() -> Reductions:
    """The norms in the graph of a watched model, and what the host makes of gradients and weights that it is shown."""
    import tensorflow as tf

    from gradscope_tensorflow.ring import norms_of
    from gradscope_tensorflow.track import changes

    in_graph = tf.function(lambda gradient: norms_of([gradient]))

    def sparse() -> tuple[float, Any]:
        rows, values, shape = SPARSE
        one = tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant(shape))
        return float(in_graph(one)[0]), changes(None, tf.zeros(shape), one)[:3]

    return Reductions(
        lambda a: float(in_graph(tf.constant(a))[0]),
        lambda a: changes(None, tf.constant(a), tf.constant(a))[:3],
        lambda before, after: changes(before, tf.constant(after))[3:],
        sparse,
    )


def jax_reductions() -> Reductions:
    """gradscope_jax.measure, compiled; with float64 switched on where the array is that."""
    import jax
    import jax.numpy as jnp

    from gradscope_jax import measure

    def compiled(function: Any) -> Any:
        def call(*arrays: Any) -> Any:
            with jax.enable_x64(arrays[0].dtype == np.float64):
                return np.asarray(jax.jit(function)(*map(jnp.asarray, arrays))).tolist()

        return call

    return Reductions(*map(compiled, (measure.norm, measure.gradient_statistics, measure.parameter_statistics)))


def mxnet_reductions() -> Reductions:
    """gradscope_mxnet.measure. Arrays without dimensions or without entries are known to mx.np alone."""
    import mxnet as mx

    from gradscope_mxnet import measure

    def given(array: Any) -> Any:
        make = mx.nd.array if array.ndim and array.size else mx.np.array
        return make(array, dtype=array.dtype)

    def update(before: Any, after: Any) -> Any:
        with mx.util.np_shape(True):
            return measure.parameter_statistics(given(before), given(after)).asnumpy().tolist()

    def norm(array: Any) -> Any:
        with mx.util.np_shape(True):
            return measure.norms([given(array)])[0]

    def details(array: Any) -> Any:
        with mx.util.np_shape(True):
            return measure.gradient_statistics(given(array), 1.0).asnumpy().tolist()

    def sparse() -> tuple[float, Any]:
        rows, _, shape = SPARSE
        kept = np.unique(rows)
        one = mx.nd.sparse.row_sparse_array((sparse_as_dense()[kept], kept), shape=shape)
        return measure.norms([one])[0], measure.gradient_statistics(one, 1.0).asnumpy().tolist()

    return Reductions(norm, details, update, sparse)


REDUCTIONS = {
    "torch": (("torch",), torch_reductions),
    "tensorflow": (("tensorflow", "keras"), tensorflow_reductions),
    "jax": (("jax", "gradscope_jax.measure"), jax_reductions),
    "mxnet": (("mxnet", "gradscope_mxnet.measure"), mxnet_reductions),
}


@functools.cache
def reductions(framework: str) -> Reductions:
    """Those of a framework. Skips the test when it is missing."""
    needed, make = REDUCTIONS[framework]
    for name in needed:
        pytest.importorskip(name)
    return make()
