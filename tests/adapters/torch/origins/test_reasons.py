"""Reasons and names that the dispatcher does not tell by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from gradscope import Origin
from torch import Tensor, nn
from torch.nn import functional as F

from tests.adapters.torch.origins.planting import origin_of, program, watched_run

Function = Callable[[Tensor], Tensor]


def told(function: Function, x: Tensor) -> Origin:
    """The origin of a step whose loss is the mean of a function of the model's output."""
    model = nn.Linear(4, 4)
    found = origin_of(watched_run(program(model, lambda _: function(model(x)).mean()), 1)[0])
    assert found is not None
    return found


NORMS: dict[str, Function] = {
    "layer_norm": lambda h: F.layer_norm(h * 0, (4,), eps=0.0),
    "batch_norm": lambda h: F.batch_norm(h, torch.zeros(4), torch.zeros(4), eps=0.0),
    "group_norm": lambda h: F.group_norm(h * 0, 2, eps=0.0),
}


@pytest.mark.parametrize("op", NORMS)
def test_a_variance_of_0_without_epsilon_is_told(op: str) -> None:
    found = told(NORMS[op], torch.randn(8, 4))
    assert (found.op, found.reason) == (op, "variance 0, and no epsilon")


@pytest.mark.parametrize("op", NORMS)
def test_a_variance_of_0_without_epsilon_is_told_where_only_gradients_meet_it(op: str) -> None:
    found = told(lambda h: torch.where(torch.ones(8, 4, dtype=torch.bool), h, NORMS[op](h)), torch.randn(8, 4))
    assert (found.op, found.reason) == (op, "variance 0, and no epsilon")


@pytest.mark.parametrize("equation", ["bi,bj->ij", "bi,bi->bi", "bi,bi->b"])
def test_a_product_within_einsum_is_named_so(equation: str) -> None:
    found = told(lambda h: torch.einsum(equation, h * 1e25, h * 1e25), torch.ones(8, 4))
    assert found.op == "einsum"
    assert "beyond the largest float32" in found.reason


def test_an_overflow_of_complex_numbers_is_named() -> None:
    found = told(lambda h: (torch.complex(h, h) * 1e30 / 1e-30).real, torch.ones(8, 4))
    assert (found.phase, found.op) == ("loss", "div")
