"""What a bundle calls cannot read out of bounds: functions that would are left out, or their arguments checked."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from gradscope.errors import BundleError
from torch import Tensor
from torch.nn import functional as F

from gradscope_torch.bundle.bounds import bounded
from gradscope_torch.bundle.functions import functions

UNSAFE = """
    embedding_bag grid_sample grid_sampler grid_sampler_2d fractional_max_pool2d ldl_solve choose_qparams_optimized
    native_batch_norm native_group_norm batch_norm_update_stats indices crow_indices col_indices to_mkldnn
"""


def test_functions_that_do_not_check_what_they_read_have_no_name() -> None:
    shorts = {name.rpartition(".")[2] for name in functions()}
    assert not shorts & set(UNSAFE.split())
    assert {"ctc_loss", "embedding", "nll_loss", "batch_norm", "index_put", "as_strided"} <= shorts


def ctc(labels: Any, given: Any = (8, 8), lengths: Any = (2, 3), function: Any = F.ctc_loss) -> Tensor:
    """A loss of 8 steps of 2 samples of 4 classes."""
    scores = torch.arange(64.0).reshape(8, 2, 4).sin().log_softmax(-1)
    found: Tensor = bounded(function, "call 3")(scores, torch.as_tensor(labels), given, lengths)
    return found


@pytest.mark.parametrize("labels", [[[1, 2, -1], [1, 2, 3]], [1, 2, 1, 2, 3]])
@pytest.mark.parametrize("function", [F.ctc_loss, torch.ctc_loss])
def test_labels_that_are_classes_are_as_they_were(labels: Any, function: Any) -> None:
    scores = torch.arange(64.0).reshape(8, 2, 4).sin().log_softmax(-1)
    expected = function(scores, torch.as_tensor(labels), (8, 8), (2, 3))
    assert torch.equal(ctc(labels, function=function), expected)


@pytest.mark.parametrize("absurd", [4, -1, 2**31, 2**40, -(2**40)])
def test_labels_that_are_no_classes_are_refused(absurd: int) -> None:
    for labels in ([[1, absurd, 0], [1, 2, 3]], [1, 2, 1, 2, absurd]):
        with pytest.raises(BundleError, match=r"call 3: ctc_loss\(\) of labels that are none of the 4 classes"):
            ctc(labels)


@pytest.mark.parametrize("absurd", [-1, 9, 2**40])
def test_lengths_beyond_what_there_is_are_refused(absurd: int) -> None:
    labels = [[1, 2, 1], [1, 2, 3]]
    for given, lengths in (((absurd, 8), (2, 3)), ((8, 8), (2, absurd))):
        with pytest.raises(BundleError, match="lengths beyond what there is"):
            ctc(labels, given, lengths)


def test_repeats_that_overflow_are_refused() -> None:
    repeat = bounded(torch.repeat_interleave, "call 3")
    assert repeat(torch.ones(2), torch.tensor([1, 2])).shape == (3,)
    assert repeat(torch.tensor([-5, 7]), 2).tolist() == [-5, -5, 7, 7]
    assert repeat(torch.tensor([2, 1]), output_size=3).tolist() == [0, 0, 1]
    for wrong in (torch.tensor([2**62] * 4), torch.tensor([-1, 3])):
        with pytest.raises(BundleError, match="negative or too many"):
            repeat(wrong)
    with pytest.raises(BundleError, match="to 1, which may not be"):
        repeat(torch.ones(2), torch.tensor([3, 3]), output_size=1)


def test_other_functions_are_themselves() -> None:
    assert bounded(torch.add, "call 3") is torch.add
