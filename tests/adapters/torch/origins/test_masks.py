"""Attention: infinities of masks are meant, a row that is masked entirely is not."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, batch
from tests.adapters.torch.origins.planting import (
    FAILS,
    Plant,
    Program,
    Table,
    fails_by_itself,
    named,
    program,
    undisturbed,
    unharmed,
)

TABLE = Table()
plant = TABLE.plant
LONG, WIDE = 5, 8


class Attention(nn.Module):
    """One head by hand, its mask filled in, added, or multiplied by a number that is not infinite."""

    def __init__(self, mask: str) -> None:
        super().__init__()
        self.queries, self.keys = nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE)
        self.mask = mask

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        scores = self.queries(x) @ self.keys(x).mT / WIDE**0.5
        if self.mask == "filled":
            scores = scores.masked_fill(hidden[:, None], -math.inf)
        elif self.mask == "added":
            scores = scores + torch.zeros_like(scores).masked_fill(hidden[:, None], -math.inf)
        else:
            scores = scores.where(~hidden[:, None], float("-inf"))
        return scores.softmax(-1) @ x  # planted


class Block(nn.Module):
    """Attention and a head, over a batch with a mask of what is padding."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention, self.norm, self.head = attention, nn.LayerNorm(WIDE), nn.Linear(WIDE, 1)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        return self.head(self.norm(x + self.attention(x, hidden)))


def hidden(step: int, sick: bool) -> Tensor:
    """(samples, positions): the last positions are padding, of a bad sample all are."""
    mask = torch.zeros(8, LONG, dtype=torch.bool)
    mask[:, -2:] = True
    if sick and step == FAILS:
        mask[BAD] = True
    return mask


def attending(attention: nn.Module, sick: bool) -> Program:
    """A block with that attention."""
    torch.manual_seed(0)
    model = Block(attention)
    shape = (LONG, WIDE)
    return program(model, lambda step: model(batch(step, False, shape=shape), hidden(step, sick)).square().mean())


def by_hand(mask: str, sick: bool) -> Program:
    """The program with an attention by hand."""
    torch.manual_seed(1)
    return attending(Attention(mask), sick)


for kind in ("filled", "added", "chosen"):
    build = partial(by_hand, kind)
    build.__name__ = f"a_row_that_a_{kind}_mask_hides"  # type: ignore[attr-defined]
    found = {"samples": (BAD,), "module_class": "Attention"}
    TABLE.append(Plant(build, "forward", "attention", ("softmax",), why=("mask",), marked=True, rest=found))


class Ready(nn.Module):
    """nn.MultiheadAttention with a mask of the keys."""

    def __init__(self, need_weights: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDE, 2, batch_first=True, dropout=dropout)
        self.need_weights = need_weights

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        return self.inner(x, x, x, key_padding_mask=hidden, need_weights=self.need_weights)[0]


@plant("forward", "attention.inner", "softmax", "multi_head_attention_forward", samples=(BAD,), why=["mask"])
def a_row_that_a_ready_made_attention_hides(sick: bool) -> Program:
    torch.manual_seed(1)
    return attending(Ready(True), sick)


@plant("forward", "attention.inner", "softmax", "multi_head_attention_forward", samples=(BAD,))
def a_row_that_a_ready_made_attention_with_dropout_hides(sick: bool) -> Program:
    torch.manual_seed(1)
    return attending(Ready(True, dropout=0.3), sick)


class Logarithms(nn.Module):
    """A softmax of logits of which some are forbidden, and the entropy of it by hand."""

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        chances = x.mean(-1).masked_fill(hidden, -math.inf).softmax(-1)
        entropy = -(chances * chances.log()).sum(-1)  # planted
        return entropy[:, None, None] * x


@plant("forward", "attention", "mul", "log", step=0, module_class="Logarithms", marked=True)
def entropy_of_forbidden_choices(sick: bool) -> Program:
    attention: nn.Module = Logarithms()
    return attending(attention if sick else Ready(False), False)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_program_fails_by_itself_and_its_twin_does_not(plant: Plant) -> None:
    fails_by_itself(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_origin_is_named(plant: Plant) -> None:
    named(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_the_twin_has_none(plant: Plant) -> None:
    unharmed(plant)


@pytest.mark.parametrize("plant", TABLE, ids=str)
def test_training_is_the_same_bit_for_bit(plant: Plant) -> None:
    undisturbed(plant)


def causal() -> Tensor:
    """What a position may not see, as the framework makes it."""
    return nn.Transformer.generate_square_subsequent_mask(LONG)


def test_a_causal_mask_is_no_origin_when_something_else_fails() -> None:
    class Later(nn.Module):
        """A causal layer, and a quotient after it that is the fault."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(WIDE, 2, 16, dropout=0.0, batch_first=True)

        def forward(self, x: Tensor, counts: Tensor) -> Tensor:
            x = self.layer(x, src_mask=causal(), is_causal=True)
            scores = torch.zeros(LONG, LONG).masked_fill(torch.ones(LONG, LONG).triu(1).bool(), -math.inf)
            x = scores.softmax(-1) @ x
            return x.sum(1) / counts[:, None]  # planted

    def build(sick: bool) -> Program:
        torch.manual_seed(0)
        model = Later()

        def loss(step: int) -> Tensor:
            counts = torch.full((8,), float(LONG))
            if sick and step == FAILS:
                counts[BAD] = 0
            return model(batch(step, False, shape=(LONG, WIDE)), counts).square().mean()

        return program(model, loss)

    plant = Plant(build, "forward", "", ("div",), marked=True, rest={"samples": (BAD,)})
    fails_by_itself(plant)
    unharmed(plant)
    named(plant)


def test_fused_attention_over_a_hidden_row_is_finite_and_no_origin() -> None:
    class Fused(nn.Module):
        """Scaled dot-product attention, whose hidden rows are zero."""

        def __init__(self) -> None:
            super().__init__()
            self.values = nn.Linear(WIDE, WIDE)

        def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, self.values(x), attn_mask=~hidden[:, None])

    unharmed(Plant(lambda _: attending(Fused(), True), "", None, ()))
