"""Every quantity against a second implementation, entry by entry in Python's own numbers."""

import math

import numpy as np
import pytest
from gradscope import statistics

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "float64": RANDOM.normal(size=(7, 5)),
    "float32": RANDOM.normal(size=(7, 5)).astype("f4"),
    "float16": RANDOM.normal(size=(7, 5)).astype("f2"),
    "zeros": np.zeros((3, 4), "f4"),
    "half zeros": np.array([0.0, -0.0, 1.0, 2.0]),
    "scalar": np.array(-3.0),
    "empty": np.empty((0, 4)),
    "denormal float16": np.array([6e-8, 1e-7, 1.0], "f2"),
    "denormal float32": np.array([1e-42, -1e-40, 1e-3, 0.0], "f4"),
    "denormal float64": np.array([5e-324, 1e-310]),
    "huge": np.array([1e300, -1e300, 1e200]),
    "largest float16": np.full(1000, 65504, "f2"),
    "integers": np.array([[3, -4], [0, 12]]),
    "smallest int8": np.array([-128, 1], "i1"),
    "a list": [3.0, -4.0],
    "complex": np.array([3 + 4j, 0]),
}
BROKEN = {
    "nan": np.array([1.0, math.nan, 2.0]),
    "inf": np.array([1.0, math.inf, 2.0]),
    "minus inf": np.array([-math.inf, 3.0], "f4"),
    "both": np.array([math.nan, math.inf, 3.0]),
    "nothing else": np.array([math.nan]),
}


def entries(values) -> list[float]:
    """|x| of every entry as Python floats."""
    return [abs(v) for v in np.asarray(values).ravel().tolist()]


def finite(values) -> list[float]:
    return [v for v in entries(values) if math.isfinite(v)]


@pytest.mark.parametrize("values", ARRAYS.values(), ids=ARRAYS)
def test_l2_norm_is_the_root_of_the_sum_of_squares(values):
    assert statistics.l2_norm(values) == pytest.approx(math.hypot(*entries(values)), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "norm"), list(zip(BROKEN.values(), (math.nan, math.inf, math.inf, math.nan, math.nan), strict=True))
)
def test_l2_norm_of_what_is_not_finite_is_not_finite(values, norm):
    assert statistics.l2_norm(values) == pytest.approx(norm, nan_ok=True)


@pytest.mark.parametrize("values", (ARRAYS | BROKEN).values(), ids=ARRAYS | BROKEN)
def test_zero_fraction_is_the_share_of_exact_zeros(values):
    each = entries(values)
    assert statistics.zero_fraction(values) == pytest.approx(sum(v == 0 for v in each) / max(len(each), 1))


@pytest.mark.parametrize("values", (ARRAYS | BROKEN).values(), ids=ARRAYS | BROKEN)
def test_abs_max_is_the_largest_finite_magnitude(values):
    assert statistics.abs_max(values) == max(finite(values), default=0.0)


@pytest.mark.parametrize("values", (ARRAYS | BROKEN).values(), ids=ARRAYS | BROKEN)
def test_nonfinite_count_is_the_number_of_nan_and_inf(values):
    assert statistics.nonfinite_count(values) == len(entries(values)) - len(finite(values))


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("denormal float16", 2 / 3),
        ("denormal float32", 0.5),
        ("denormal float64", 1.0),
        ("float32", 0.0),
        ("zeros", 0.0),
        ("empty", 0.0),
        ("integers", 0.0),
    ],
)
def test_underflow_fraction_is_the_share_under_the_smallest_normal_number(name, share):
    assert statistics.underflow_fraction(ARRAYS[name]) == pytest.approx(share)


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "zeros", "scalar", "empty", "integers", "a list"])
def test_deviation_is_the_root_of_the_mean_square_about_the_mean(name):
    each = [float(v) for v in np.asarray(ARRAYS[name]).ravel()]
    mean = math.fsum(each) / max(len(each), 1)
    expected = math.sqrt(math.fsum((v - mean) ** 2 for v in each) / len(each)) if len(each) > 1 else 0.0
    assert statistics.deviation(ARRAYS[name]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("before", "after", "norm", "moved"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0, 0.0),
        ([1.0, 2.0], [4.0, 6.0], 5.0, 1.0),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.5], 0.5, 0.25),
        ([], [], 0.0, 0.0),
        ([1.0, 2.0], [math.nan, 2.0], math.nan, 0.5),
    ],
)
def test_parameter_change_is_the_norm_of_the_difference_and_the_share_that_moved(before, after, norm, moved):
    assert statistics.parameter_change(before, after) == pytest.approx((norm, moved), nan_ok=True)


def test_the_difference_of_two_large_float16_arrays_does_not_overflow():
    before, after = np.full(4, -60000, "f2"), np.full(4, 60000, "f2")
    assert statistics.parameter_change(before, after)[0] == pytest.approx(2 * float(after[0]) * 2)
