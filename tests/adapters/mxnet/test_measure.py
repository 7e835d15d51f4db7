"""Every reduction in MXNet gives what gradscope.statistics gives on the same arrays."""

# ruff: noqa: E402 - MXNet is imported where it is known to be there

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

mx = pytest.importorskip("mxnet")

from gradscope import statistics
from mxnet import nd

from gradscope_mxnet import measure

NAN, INF = np.nan, np.inf
RANDOM = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def normal(*shape: int, dtype: str = "f4") -> np.ndarray:
    """Normal numbers."""
    return RANDOM.standard_normal(shape).astype(dtype)


ARRAYS: dict[str, np.ndarray] = {
    "float32": normal(20, 5),
    "float16": normal(20, 5, dtype="f2"),
    "float64": normal(20, 5, dtype="f8"),
    "one number": np.array([-3.0], "f4"),
    "zeros": np.zeros((3, 2), "f4"),
    "half zeros": np.array([[0, 1], [2, 0]], "f4"),
    "denormal": np.array([1e-42, 0, 2e-42], "f4"),
    "1e-30": np.array([1e-30, 2e-30], "f4"),
    "1e30": np.full((3, 3), 1e30, "f4"),
    "1e30 beside 1": np.array([1e30, 1], "f4"),
    "NaN": np.array([1, NAN, 0], "f4"),
    "Inf": np.array([1, INF], "f4"),
    "NaN and Inf": np.array([[NAN, -INF], [2, 0]], "f4"),
    "float16 under its smallest normal number": np.array([1e-7, 0, 1], "f2"),
    "float16 whose norm is above the largest float16": np.full(10**4, 6e4, "f2"),
    "as many as are summed in one call": np.full(2**11, 0.1, "f4"),
    "one dot product and a bit": np.full(2**16 + 5, 0.1, "f4"),
    "ten million equal": np.full(10**7, 0.1, "f4"),
    "ten million normal": normal(10**7),
}
SMALL = {k: v for k, v in ARRAYS.items() if v.size <= 100}
EXTREME = {
    "1e200": np.full(4, 1e200),
    "1e-200": np.full(4, 1e-200),
    "1e200 and Inf": np.array([1e200, INF]),
    "0": np.zeros(3),
}


def array(values: Any) -> nd.NDArray:
    """The values in MXNet, of the same type."""
    given = np.asarray(values)
    return nd.array(given, dtype=given.dtype)


def approx(values: Any) -> Any:
    """The values to a relative 1e-5, NaN equal to NaN."""
    return pytest.approx(np.ravel(np.asarray(values, "f8")).tolist(), rel=1e-5, abs=0, nan_ok=True)


def listed(found: nd.NDArray) -> list[float]:
    """The numbers of a small array."""
    return found.asnumpy().astype("f8").ravel().tolist()


@pytest.mark.parametrize("kind", ARRAYS)
def test_the_norm_is_that_of_the_oracle(kind: str) -> None:
    assert measure.norms([array(ARRAYS[kind])]) == approx(statistics.l2_norm(ARRAYS[kind]))


@pytest.mark.parametrize("kind", EXTREME)
def test_the_norm_of_float64_does_not_overflow_either(kind: str) -> None:
    assert measure.norms([array(EXTREME[kind])]) == approx(statistics.l2_norm(EXTREME[kind]))


def test_each_of_many_arrays_has_the_norm_it_has_alone() -> None:
    given = [*ARRAYS.values(), *[normal(3) for _ in range(100)]]
    found = measure.norms([array(a) for a in given])
    assert found == approx([statistics.l2_norm(a) for a in given])


def test_no_arrays_have_no_norms() -> None:
    assert measure.norms([]) == []


@pytest.mark.parametrize("kind", ARRAYS)
def test_the_details_of_a_gradient_are_those_of_the_oracle(kind: str) -> None:
    given = ARRAYS[kind]
    wanted = [f(given) for f in (statistics.zero_fraction, statistics.abs_max, statistics.underflow_fraction)]
    assert listed(measure.gradient_statistics(array(given), 1.0)) == approx(wanted)


def test_bfloat16_is_measured_in_more() -> None:
    given = np.array([1e-39, 0.5, 0, -3], "f4")
    held = array(given).astype(np.dtype([("bfloat16", np.uint16)]))
    assert measure.norms([held]) == approx(statistics.l2_norm(given))
    assert listed(measure.gradient_statistics(held, 1.0)) == approx([0.25, 3.0, 0.25])


def test_the_largest_gradient_is_scaled_as_the_optimizer_scales_it() -> None:
    assert listed(measure.gradient_statistics(array([1.0, -4.0]), -0.25))[1] == 1.0


@pytest.mark.parametrize("kind", ARRAYS)
def test_the_update_is_that_of_the_oracle(kind: str) -> None:
    before = ARRAYS[kind]
    after = before.copy()
    after.flat[0] = 3
    wanted = [
        statistics.l2_norm(before),
        statistics.deviation(before),
        *statistics.parameter_change(before, after),
        statistics.nonfinite_count(after),
    ]
    assert listed(measure.parameter_statistics(array(before), array(after))) == approx(wanted)


@pytest.mark.parametrize("kind", SMALL)
def test_what_a_block_puts_out_is_measured_as_by_the_oracle(kind: str) -> None:
    given = SMALL[kind]
    found = measure.output_statistics(array(given), array(given[:1]))
    assert listed(found) == approx(statistics.output_statistics(given, given[:1]))


def test_without_an_input_nothing_is_said_of_it() -> None:
    given = normal(4, 3)
    assert listed(measure.output_statistics(array(given), None)) == approx(statistics.output_statistics(given, None))


@pytest.mark.parametrize("kind", SMALL)
def test_inputs_are_measured_as_by_the_oracle(kind: str) -> None:
    given = SMALL[kind]
    found = measure.data_statistics(array(given), given.ndim - 1)
    assert listed(found) == approx(statistics.data_statistics(given))


@pytest.mark.parametrize("features", [2, 3, 4, 5])
@pytest.mark.parametrize("absent", [0, 1, 2])
def test_features_that_are_absent_do_not_count_in_the_median(features: int, absent: int) -> None:
    given = normal(6, features) * np.arange(1, features + 1, dtype="f4")
    given[:, :absent] = 0
    assert listed(measure.data_statistics(array(given), 1)) == approx(statistics.data_statistics(given))


@pytest.mark.parametrize("operation", ["tanh", "sigmoid"])
@pytest.mark.parametrize("kind", SMALL)
def test_saturation_is_that_of_the_oracle(kind: str, operation: str) -> None:
    found = measure.saturated_fraction(array(SMALL[kind]), operation)
    assert listed(found) == approx(statistics.saturated_fraction(SMALL[kind], operation))


@pytest.mark.parametrize("kind", SMALL)
def test_ranges_are_those_of_the_oracle(kind: str) -> None:
    assert listed(measure.spread(array(SMALL[kind]))) == approx(statistics.spread(SMALL[kind]))


def test_inactive_units_are_those_of_the_oracle() -> None:
    given = np.maximum(normal(4, 3, 6), 0)
    given[..., 2] = 0
    found, samples = measure.inactive_units(array(given), 2)
    wanted, many = statistics.inactive_units(given)
    assert (listed(found), samples) == (wanted.astype("f8").tolist(), many)


def test_the_units_of_a_convolution_are_its_channels() -> None:
    given = normal(2, 3, 4, 5)
    given[:, 1] = 0
    found, samples = measure.inactive_units(array(given), 1)
    assert (listed(found), samples) == ([0, 1, 0], 2 * 4 * 5)


@pytest.mark.parametrize("rows", [[[0.5, 0.5], [0.9, 0.1]], [[0.5, 0.6], [1.0, 0.0]], [[-0.1, 1.1]], [[2.0, 0.0]]])
def test_the_distance_from_probabilities_is_that_of_the_oracle(rows: list[list[float]]) -> None:
    given = np.array(rows, "f4")
    found = listed(measure.probability_margin(array(given)))
    assert found == pytest.approx([statistics.probability_margin(given)], rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("rows", [[], [1, 4]])
def test_a_sparse_gradient_counts_the_rows_that_are_not_there(rows: list[int]) -> None:
    sparse = nd.sparse.zeros("row_sparse", (6, 3))
    if rows:
        sparse = nd.sparse.row_sparse_array((normal(len(rows), 3), rows), shape=(6, 3))
    dense = sparse.tostype("default").asnumpy()
    assert measure.norms([sparse]) == approx(statistics.l2_norm(dense))
    wanted = [statistics.zero_fraction(dense), statistics.abs_max(dense), 0.0]
    assert listed(measure.gradient_statistics(sparse, 1.0)) == approx(wanted)


@pytest.mark.parametrize("given", [np.zeros((0, 3), "f4"), np.array(3.0, "f4"), np.array([1.0, 2.0], "f4")])
def test_arrays_of_mx_np_may_be_empty_or_scalars(given: np.ndarray) -> None:
    with mx.util.np_shape(True), mx.util.np_array(True):
        held = mx.np.array(given, dtype="float32")
        assert measure.norms([held, held]) == approx([statistics.l2_norm(given)] * 2)
        details = [f(given) for f in (statistics.zero_fraction, statistics.abs_max, statistics.underflow_fraction)]
        assert listed(measure.gradient_statistics(held, 1.0)) == approx(details)
        change = [statistics.l2_norm(given), statistics.deviation(given), 0.0, 0.0, 0.0]
        assert listed(measure.parameter_statistics(held, held)) == approx(change)


def test_a_sample_and_its_cosine_are_those_of_the_oracle() -> None:
    left, right = [normal(50, 7), normal(4)], [normal(50, 7), normal(4)]
    samples = [measure.sample([array(a) for a in given], most=100) for given in (left, right)]
    wanted = [statistics.sample(given, most=100) for given in (left, right)]
    assert [listed(s) for s in samples] == [approx(w) for w in wanted]
    assert listed(measure.cosine(*samples)) == approx(statistics.cosine(*wanted))


def test_everything_comes_to_the_host_in_the_order_it_was_given() -> None:
    given = [array([1.0, 2.0]), array(np.array([[3.0]], "f2")), array([4.0])]
    fetched = measure.fetch([*given, 7.0])
    assert [fetched[id(a)].tolist() for a in given] == [[1, 2], [3], [4]]
