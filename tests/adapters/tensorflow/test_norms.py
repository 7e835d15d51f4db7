"""Norms reduced inside graphs are those of gradscope.statistics, whatever the array holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradscope import statistics

tf = pytest.importorskip("tensorflow")
pytest.importorskip("keras")

from gradscope_tensorflow.ring import norms_of  # noqa: E402

ARRAYS: dict[str, Any] = {
    "ordinary": np.linspace(-1, 1, 1000, dtype="f4").reshape(10, 100),
    "scalar": np.float32(3.0),
    "zero": np.zeros(5, "f4"),
    "empty": np.zeros((0, 4), "f4"),
    "huge": np.full(7, 1e30, "f4"),
    "minute": np.full(7, 1e-30, "f4"),
    "NaN": np.array([1, np.nan, 2], "f4"),
    "Inf": np.array([1, -np.inf, 2], "f4"),
    "half": np.full(100, 300.0, "f2"),
    "double": np.linspace(0, 1, 50),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("mode", ["eager", "graph", "XLA"])
def test_a_norm_in_a_graph_is_the_true_one(name: str, mode: str) -> None:
    run: Any = norms_of if mode == "eager" else tf.function(norms_of, jit_compile=mode == "XLA", autograph=False)
    fine = np.ones(4, "f4")
    found = run([tf.constant(fine), tf.constant(ARRAYS[name])]).numpy()
    assert found[0] == pytest.approx(2.0)
    assert found[1] == pytest.approx(statistics.l2_norm(ARRAYS[name]), rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("size", [1e200, 1e-200, 1e-300])
@pytest.mark.parametrize("mode", ["eager", "graph", "XLA"])
def test_a_norm_of_float64_is_float64(size: float, mode: str) -> None:
    run: Any = norms_of if mode == "eager" else tf.function(norms_of, jit_compile=mode == "XLA", autograph=False)
    found = run([tf.ones(4), tf.fill([4], tf.constant(size, tf.float64))]).numpy()
    assert found.tolist() == pytest.approx([2.0, 2 * size], rel=1e-12)


def test_a_missing_gradient_is_told_from_a_zero_one() -> None:
    assert norms_of([None, tf.zeros(3), tf.ones(4)]).numpy().tolist() == [-1.0, 0.0, 2.0]
    assert norms_of([None, None]).numpy().tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("graph", [False, True])
def test_rows_of_one_index_are_added_before_the_norm(graph: bool) -> None:
    def norm(values: Any, indices: Any) -> Any:
        return norms_of([tf.IndexedSlices(values, indices, tf.constant([9, 2]))])

    run = tf.function(norm, autograph=False) if graph else norm
    assert run(tf.constant([[3.0, 0.0], [3.0, 0.0], [0.0, 8.0]]), tf.constant([4, 4, 1])).numpy() == pytest.approx(
        [10.0]
    )


@pytest.mark.parametrize("name", ARRAYS)
def test_a_norm_in_a_program_of_jax_is_the_true_one(name: str) -> None:
    jax = pytest.importorskip("jax")
    from gradscope_tensorflow import measure_jax

    found = jax.jit(measure_jax.norms_of)([np.ones(4, "f4"), ARRAYS[name], None])
    expected = [2.0, statistics.l2_norm(ARRAYS[name]), -1.0]
    assert np.asarray(found) == pytest.approx(expected, rel=1e-5, nan_ok=True)
