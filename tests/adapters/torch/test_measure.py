"""Norms of gradients and updates, as written into a history, against gradscope.statistics in float64."""

from __future__ import annotations

import math

import gradscope
import numpy as np
import pytest
import torch
from gradscope import statistics
from gradscope.history import MISSING, History
from torch import Tensor, nn

from gradscope_torch import measure

NAN, INF = math.nan, math.inf
TOLERANCE = {"rel": 1e-5, "abs": 3e-45}


def random(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    """Normal numbers from a generator of their own."""
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * scale).to(dtype)


def embedding_gradient() -> Tensor:
    """An uncoalesced sparse gradient: row 1 comes twice, row 3 once."""
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [-1.0, 0.5]])
    return torch.sparse_coo_tensor(torch.tensor([[1, 3, 1]]), values, (5, 2), check_invariants=True)


GRADIENTS = {
    "float32": random(30, 7),
    "float64": random(30, 7, dtype=torch.float64),
    "bfloat16": random(100, 100, dtype=torch.bfloat16),
    "float16": random(100, 100, dtype=torch.float16),
    "float16 whose norm is above the largest float16": torch.full((10**6,), 100.0, dtype=torch.float16),
    "bfloat16 with a million entries": torch.full((10**6,), 0.1, dtype=torch.bfloat16),
    "float16 with denormals": torch.full((64,), 1e-7, dtype=torch.float16),
    "uncoalesced sparse": embedding_gradient(),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(-3.0),
    "zero": torch.zeros(5),
    "not contiguous": random(6, 8).t(),
    "float32 with a million entries": torch.full((10**6,), 0.1),
    "1e30": torch.full((9,), 1e30),
    "1e-22": torch.tensor([1e-22, 2e-22, 3e-22]),
    "1e-30": torch.tensor([1e-30, 2e-30, 3e-30]),
    "denormal": torch.tensor([1e-42, 2e-42, 3e-42]),
    "1e30 beside 1": torch.tensor([1e30, 1.0]),
    "NaN": torch.tensor([1.0, NAN]),
    "Inf": torch.tensor([1.0, INF]),
    "-Inf": torch.tensor([1.0, -INF]),
    "NaN and Inf": torch.tensor([INF, NAN]),
}


def dense(tensor: Tensor) -> np.ndarray:
    """The tensor in numpy, float64."""
    return (tensor.to_dense() if tensor.is_sparse else tensor).detach().double().numpy()


def holder(*values: Tensor) -> nn.Module:
    """A module whose parameters p0, p1 ... are the values."""
    module = nn.Module()
    for i, value in enumerate(values):
        module.register_parameter(f"p{i}", nn.Parameter(value))
    return module


def step_with(module: nn.Module, gradients: list[Tensor | None], lr: float) -> History:
    """The history of one step of SGD with these gradients."""
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    with gradscope.watch(module, optimizer) as scope:
        for p, g in zip(module.parameters(), gradients, strict=True):
            p.grad = g
        optimizer.step()
    assert scope.failures == {}
    return scope.histories[0]


def first(history: History, table: str, quantity: str, name: str = "p0") -> float:
    """The value of the first step."""
    return float(history[table].series(quantity, name)[0])


def approx(value: float) -> object:
    """The value to a relative 1e-5, NaN equal to NaN."""
    return pytest.approx(value, **TOLERANCE, nan_ok=True)


@pytest.mark.parametrize("kind", GRADIENTS)
def test_the_gradient_norm_is_that_of_the_oracle(kind: str) -> None:
    gradient = GRADIENTS[kind]
    module = holder(torch.zeros(gradient.shape, dtype=gradient.dtype))
    history = step_with(module, [gradient], lr=0.0)
    assert first(history, "gradient", "gradient_norm") == approx(statistics.l2_norm(dense(gradient)))


@pytest.mark.parametrize("kind", GRADIENTS)
def test_a_gradient_beside_others_has_the_norm_it_has_alone(kind: str) -> None:
    gradient = GRADIENTS[kind]
    weights = [torch.zeros(3), torch.zeros(gradient.shape, dtype=gradient.dtype), torch.zeros(2)]
    history = step_with(holder(*weights), [torch.ones(3), gradient, torch.full((2,), 1e-3)], lr=0.0)
    found = [first(history, "gradient", "gradient_norm", f"p{i}") for i in range(3)]
    assert found == approx([math.sqrt(3), statistics.l2_norm(dense(gradient)), 1e-3 * math.sqrt(2)])


def test_a_norm_above_float32_stays_finite() -> None:
    history = step_with(
        holder(torch.zeros(2, dtype=torch.float64)), [torch.full((2,), 1e100, dtype=torch.float64)], lr=0.0
    )
    assert math.isfinite(first(history, "gradient", "gradient_norm"))


def test_a_norm_above_float32_stays_finite_beside_a_gradient_that_is_not() -> None:
    module = holder(torch.zeros(2, dtype=torch.float64), torch.zeros(2))
    history = step_with(module, [torch.full((2,), 1e100, dtype=torch.float64), torch.tensor([NAN, 1.0])], lr=0.0)
    assert math.isfinite(first(history, "gradient", "gradient_norm", "p0"))
    assert math.isnan(first(history, "gradient", "gradient_norm", "p1"))


UPDATES = {
    "float32": (random(20, 5), random(20, 5, scale=0.1)),
    "float64": (random(20, 5, dtype=torch.float64), random(20, 5, dtype=torch.float64)),
    "float64 with updates under the resolution of float32": (
        torch.ones(4, dtype=torch.float64),
        torch.full((4,), 1e-10, dtype=torch.float64),
    ),
    "bfloat16": (random(50, 20, dtype=torch.bfloat16), random(50, 20, dtype=torch.bfloat16)),
    "float16": (random(50, 20, dtype=torch.float16), random(50, 20, dtype=torch.float16)),
    "float16 whose norm is above the largest float16": (
        torch.zeros(10**6, dtype=torch.float16),
        torch.full((10**6,), 100.0, dtype=torch.float16),
    ),
    "uncoalesced sparse": (random(5, 2), embedding_gradient()),
    "empty": (torch.zeros(0, 3), torch.zeros(0, 3)),
    "scalar": (torch.tensor(2.0), torch.tensor(-3.0)),
    "none": (random(4), torch.zeros(4)),
    "NaN": (random(2), torch.tensor([1.0, NAN])),
    "Inf": (random(2), torch.tensor([1.0, INF])),
    "float32 with a million entries": (torch.full((10**6,), 0.3), torch.full((10**6,), 0.1)),
    "1e30": (torch.zeros(9), torch.full((9,), 1e30)),
    "1e-22": (torch.zeros(3), torch.tensor([1e-22, 2e-22, 3e-22])),
    "denormal": (torch.zeros(3), torch.tensor([1e-41, 2e-41, 3e-41])),
}


@pytest.mark.parametrize("kind", UPDATES)
def test_the_update_is_that_of_the_oracle(kind: str) -> None:
    before, gradient = UPDATES[kind]
    module = holder(before.clone())
    history = step_with(module, [gradient], lr=0.5)
    norm, moved = statistics.parameter_change(dense(before), dense(module.p0))
    found = [first(history, "parameter", q) for q in ("update_norm", "moved_fraction", "parameter_norm")]
    assert found == approx([norm, moved, statistics.l2_norm(dense(before))])


DETAILS = {"gradient_zero_fraction": statistics.zero_fraction, "gradient_abs_max": statistics.abs_max}


@pytest.mark.parametrize("quantity", DETAILS)
@pytest.mark.parametrize("kind", GRADIENTS)
def test_the_details_of_a_gradient_are_those_of_the_oracle(kind: str, quantity: str) -> None:
    gradient = GRADIENTS[kind]
    history = step_with(holder(torch.zeros(gradient.shape, dtype=gradient.dtype)), [gradient], lr=0.0)
    assert first(history, "parameter", quantity) == approx(DETAILS[quantity](dense(gradient)))


@pytest.mark.parametrize(
    ("values", "dtype", "fraction"),
    [
        ([1e-42, 1.0, 0.0, 1e-41], torch.float32, 0.5),
        ([1e-6, 1.0, 0.0, 1.0], torch.float16, 0.25),
        ([1e-6, 1.0, 0.0, 1.0], torch.float32, 0.0),
        ([], torch.float32, 0.0),
    ],
)
def test_underflow_is_measured_against_the_smallest_normal_number_of_the_type(
    values: list[float], dtype: torch.dtype, fraction: float
) -> None:
    assert float(measure.gradient_statistics(torch.tensor(values, dtype=dtype))[2]) == fraction


def test_none_and_zero_gradients_are_told_apart() -> None:
    history = step_with(holder(torch.ones(2), torch.ones(2)), [None, torch.zeros(2)], lr=0.1)
    assert first(history, "gradient", "gradient_norm", "p0") == MISSING
    assert first(history, "gradient", "gradient_norm", "p1") == 0.0


def test_the_count_of_bad_weights_is_noted() -> None:
    history = step_with(holder(torch.ones(3)), [torch.tensor([NAN, 1.0, INF])], lr=0.1)
    assert first(history, "parameter", "nonfinite") == 2


def test_a_real_embedding_with_sparse_gradients_equals_the_dense_one() -> None:
    norms = []
    for sparse in (True, False):
        torch.manual_seed(0)
        module = nn.Embedding(10, 4, sparse=sparse)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        with gradscope.watch(module, optimizer) as scope:
            module(torch.tensor([1, 1, 1, 5])).square().sum().backward()
            optimizer.step()
        history = scope.histories[0]
        norms.append([first(history, "gradient", "gradient_norm", "weight")])
        norms[-1] += [first(history, "parameter", q, "weight") for q in ("update_norm", "gradient_zero_fraction")]
    assert norms[0] == approx(norms[1])


def test_a_complex_gradient_has_the_norm_of_its_magnitudes() -> None:
    gradient = torch.tensor([3 + 4j, 0j])
    assert float(measure.exact_norm(gradient)) == approx(5.0)


def test_the_loss_and_the_learning_rate_of_each_step_are_those_of_the_loop() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    losses, rates = [], []
    with gradscope.watch(model, optimizer) as scope:
        for _ in range(4):
            optimizer.zero_grad()
            loss = (model(torch.ones(3, 2)) - 2).square().mean()
            loss.backward()
            losses.append(loss.item())
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    assert list(scope.histories[0].run("loss")) == pytest.approx(losses, rel=1e-6)
    assert list(scope.histories[0].run("learning_rate")) == pytest.approx(rates)
