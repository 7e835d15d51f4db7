"""What models take and give: dicts, dataclasses, nests, keyword arguments, things changed in place, shared parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, WIDTH, Apply, batch, net, regression
from tests.adapters.torch.origins.planting import (
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


class Share(nn.Module):
    """Shares of a sum; given and returned as `kind` says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Any) -> Any:
        x = unpacked(x)
        return packed(x / x.abs().sum(-1, keepdim=True), self.kind)  # planted


@dataclass
class Given:
    """What a layer gives."""

    hidden: Tensor
    note: str = ""


def packed(x: Tensor, kind: str) -> Any:
    """A tensor in one of the ways that people return it."""
    match kind:
        case "dict":
            return {"note": "", "hidden": x}
        case "dataclass":
            return Given(x)
        case "nested":
            return ({"levels": [x.detach(), (x,)]}, None)
        case "model-output":
            from transformers.modeling_outputs import BaseModelOutput

            return BaseModelOutput(last_hidden_state=x)
    return x


def unpacked(x: Any) -> Tensor:
    """The tensor again."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, Given):
        return x.hidden
    if isinstance(x, tuple):
        return x[0]["levels"][1][0]
    return x["hidden"] if "hidden" in x else x["last_hidden_state"]


class Carrying(nn.Module):
    """Passes its hidden state in a container, between its parts and out of itself."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stem, self.share, self.head = nn.Linear(WIDTH, 8, bias=False), Share(kind), nn.Linear(8, 2)
        self.kind = kind

    def forward(self, given: Any) -> Any:
        return packed(self.head(unpacked(self.share(packed(self.stem(unpacked(given)), self.kind)))), self.kind)


@pytest.mark.parametrize("kind", ["dict", "dataclass", "nested", "model-output"])
def test_a_fault_between_containers_is_named(kind: str) -> None:
    if kind == "model-output":
        pytest.importorskip("transformers")

    def build(sick: bool) -> Program:
        torch.manual_seed(0)
        model = Carrying(kind)
        return program(model, lambda step: unpacked(model(packed(batch(step, sick), kind))).square().mean())

    told = {"samples": (BAD,), "module_class": "Share"}
    plant = Plant(build, "forward", "share", ("div",), marked=True, passed=("head",), rest=told)
    fails_by_itself(plant)
    unharmed(plant)
    undisturbed(plant)
    named(plant)


class Keywords(nn.Module):
    """Takes all it takes by name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.part, self.head = nn.Linear(WIDTH, 8), Scaled(), nn.Linear(8, 1)

    def forward(self, *, features: Tensor, divisor: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": self.head(self.part(hidden=self.stem(features), divisor=divisor))}


class Scaled(nn.Module):
    """A division by an argument."""

    def forward(self, *, hidden: Tensor, divisor: Tensor) -> Tensor:
        return hidden / divisor  # planted


@plant("forward", "part", "div", samples=(BAD,), why=["0"], marked=True)
def keyword_arguments_all_the_way(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Keywords()

    def loss(step: int) -> Tensor:
        divisor = batch(step, sick).abs().amax(-1, keepdim=True)
        return model(features=batch(step, False), divisor=divisor)["logits"].square().mean()

    return program(model, loss)


class InPlace(nn.Module):
    """Overwrites what it was given."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        self.function(x)
        return x


@plant("forward", "fault", "div", "div_", samples=(BAD,), inputs_finite=True, marked=True)
def a_division_in_place(sick: bool) -> Program:
    return regression(net(InPlace(lambda x: x.div_(x.detach().abs().sum(-1, keepdim=True)))), sick)  # planted


@plant("forward", "fault", "log", "log_", samples=(BAD,), inputs_finite=True, why=["of 0"], marked=True)
def a_logarithm_in_place(sick: bool) -> Program:
    return regression(net(InPlace(lambda x: x.abs_().log_())), sick)  # planted


class Overwritten(nn.Module):
    """Writes shares into one half of what it was given."""

    def forward(self, x: Tensor) -> Tensor:
        made = x.clone()
        made[:, :4] = x[:, :4] / x[:, 4:].abs().sum(-1, keepdim=True)  # planted
        return made


@plant("forward", "fault", "div", samples=(BAD,), marked=True)
def an_assignment_to_a_slice(sick: bool) -> Program:
    return regression(net(Overwritten()), sick)


class Twice(nn.Module):
    """One layer in two places, and shares after the second."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(WIDTH, WIDTH, bias=False)
        self.block = nn.Sequential(self.stem, nn.Tanh(), Share(""))
        self.again = self.block
        self.head = nn.Linear(WIDTH, WIDTH, bias=False)
        self.head.weight = self.stem.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.block(x) - 1 / WIDTH * x.sign().abs()))


@plant("forward", "block.2", "div", samples=(BAD,), marked=True)
def modules_and_parameters_that_are_shared(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Twice()
    return program(model, lambda step: model(batch(step, sick)).square().mean())


@plant("backward", "fault", "sqrt", marked=True)
def a_leaf_that_the_program_owns(sick: bool) -> Program:
    """The input itself wants a gradient, as in adversarial training."""
    model = net(Apply(lambda x: x * x.square().sum(-1, keepdim=True).sqrt()))  # planted

    def loss(step: int) -> Tensor:
        x = batch(step, sick).requires_grad_()
        return model(x).square().mean()

    return program(model, loss)


@plant("forward", "", "div", samples=(BAD,), module_class="Functional", marked=True)
def weights_without_layers(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Functional()
    return program(model, lambda step: model(batch(step, sick)).square().mean())


class Functional(nn.Module):
    """Parameters, and functions of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(8, WIDTH) / 3)
        self.second = nn.Parameter(torch.randn(2, 8) / 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.linear(x, self.first).tanh()
        hidden = hidden / hidden.norm(dim=-1, keepdim=True)  # planted
        return F.linear(hidden, self.second)


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


def test_a_batch_that_the_model_changes_in_place_is_replayed_as_it_was() -> None:
    class Greedy(nn.Module):
        """Centres its input in place: a second time there would be nothing left to divide by."""

        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(WIDTH, 1)

        def forward(self, x: Tensor) -> Tensor:
            scale = x.abs().sum(-1, keepdim=True)
            x.sub_(x.detach().clone())
            return self.out(x + scale.clamp(max=1)) / scale  # planted

    def build(sick: bool) -> Program:
        torch.manual_seed(0)
        model = Greedy()
        return program(model, lambda step: model(batch(step, sick)).square().mean())

    plant = Plant(build, "forward", "", ("div",), marked=True)
    fails_by_itself(plant)
    unharmed(plant)
    undisturbed(plant)
    origin = named(plant)
    # the batch was overwritten before the step was run again: either its bad sample is named, or none
    assert origin.samples in {(BAD,), ()}
