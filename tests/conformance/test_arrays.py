"""Each adapter reduces arrays in its own framework, and must come to what gradscope.statistics says of the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradscope import statistics

from tests.conformance.arrays import (
    NAMES,
    REDUCTIONS,
    SPARSE,
    array_of,
    brain_table,
    long_array,
    reductions,
    sparse_as_dense,
    table,
)

RELATIVE = 1e-5
LARGEST, SMALLEST = 3e38, float(np.finfo("f4").tiny)
"""What a History keeps is float32: finite numbers beyond the first stay finite and no more, and below the second they
are zero to hardware that rounds so (XLA, TensorFlow)."""


def kept(values: Any) -> Any:
    """Numbers as far as a History can tell them apart."""
    a = np.asarray(values, "f8")
    a = np.where(np.isfinite(a), np.clip(a, -LARGEST, LARGEST), a)
    return np.where(np.abs(a) < SMALLEST, 0, a)


def close(value: Any) -> Any:
    """Equal to 1e-5; NaN is NaN, Inf is Inf."""
    return pytest.approx(kept(value), rel=RELATIVE, abs=0, nan_ok=True)


def details_of(array: Any) -> list[float]:
    """(share of zeros, largest finite magnitude, share under the smallest normal number)."""
    return [f(array) for f in (statistics.zero_fraction, statistics.abs_max, statistics.underflow_fraction)]


def change_of(before: Any, after: Any) -> list[float]:
    """(norm before, deviation before, norm of the change, share that moved, count that is not finite)."""
    change, moved = statistics.parameter_change(before, after)
    bad = statistics.nonfinite_count(after)
    return [statistics.l2_norm(before), statistics.deviation(before), change, moved, bad]


BEYOND = {
    ("mxnet", "change", "1e200 of float64"): "the squares of weights of 1e200 overflow",
}
"""What an adapter is known to get wrong."""


def expect(request: pytest.FixtureRequest, framework: str, what: str, name: str) -> None:
    """Expects the test to fail where that is known."""
    if (framework, what, name) in BEYOND:
        request.applymarker(pytest.mark.xfail(reason=BEYOND[framework, what, name], strict=True))


def offered(framework: str, what: str) -> Any:
    """A reduction of an adapter. Skips the test when it leaves that to gradscope.statistics."""
    found = getattr(reductions(framework), what)
    if found is None:
        pytest.skip(f"{framework} has no reduction of its own for it: {what}")
    return found


def test_the_table_lists_what_it_holds() -> None:
    assert sorted(NAMES) == sorted({**table(), **brain_table()})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("framework", REDUCTIONS)
def test_the_norm_is_that_of_the_oracle(framework: str, name: str, request: pytest.FixtureRequest) -> None:
    expect(request, framework, "norm", name)
    array = array_of(name)
    assert kept(reductions(framework).norm(array)) == close(statistics.l2_norm(array))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("framework", REDUCTIONS)
def test_the_details_of_a_gradient_are_those_of_the_oracle(framework: str, name: str) -> None:
    array = array_of(name)
    assert kept(offered(framework, "details")(array)) == close(details_of(array))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("framework", REDUCTIONS)
def test_the_update_of_a_weight_is_that_of_the_oracle(
    framework: str, name: str, request: pytest.FixtureRequest
) -> None:
    expect(request, framework, "change", name)
    after = array_of(name)
    before = np.where(np.arange(after.size).reshape(after.shape) % 2, after, after.dtype.type(0.5)).astype(after.dtype)
    assert kept(offered(framework, "change")(before, after)) == close(change_of(before, after))


@pytest.mark.parametrize("framework", REDUCTIONS)
def test_the_norm_of_ten_million_numbers_is_that_of_the_oracle(framework: str) -> None:
    assert kept(reductions(framework).norm(long_array())) == close(statistics.l2_norm(long_array()))


@pytest.mark.parametrize("framework", REDUCTIONS)
def test_the_details_of_ten_million_numbers_are_those_of_the_oracle(framework: str) -> None:
    assert kept(offered(framework, "details")(long_array())) == close(details_of(long_array()))


@pytest.mark.parametrize("framework", REDUCTIONS)
def test_the_update_of_ten_million_weights_is_that_of_the_oracle(framework: str) -> None:
    before = long_array()
    after = before * np.float32(1.001)
    assert kept(offered(framework, "change")(before, after)) == close(change_of(before, after))


@pytest.mark.parametrize("framework", REDUCTIONS)
def test_a_sparse_gradient_counts_as_the_dense_one(framework: str) -> None:
    norm, details = offered(framework, "sparse")()
    assert norm == close(statistics.l2_norm(sparse_as_dense()))
    assert norm != close(statistics.l2_norm(SPARSE[1]))
    assert details == close(details_of(sparse_as_dense()))


@pytest.mark.parametrize("name", NAMES)
def test_no_statistic_warns_of_numbers_that_are_hard(name: str) -> None:
    """A warning is an exception for whoever runs with -W error, as these tests do, and would end the observation."""
    array = array_of(name)
    rows = np.atleast_2d(array)
    results = [*details_of(array), *change_of(array, array), statistics.l2_norm(array)]
    sample = statistics.sample([array])
    results += [statistics.cosine(sample, sample), *statistics.spread(array)]
    if rows.size:
        results += [*statistics.output_statistics(rows, rows), *statistics.data_statistics(rows)]
        results += [statistics.probability_margin(rows), statistics.saturated_fraction(rows, "tanh")]
    assert all(isinstance(float(r), float) for r in results)
    assert statistics.cosine(sample, sample) == pytest.approx(1) or not 0 < statistics.l2_norm(sample) < np.inf
