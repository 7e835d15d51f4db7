"""Layers with a life of their own: recomputed, random, with running statistics, recurrent, sparse, compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gradscope
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.adapters.torch.origins.organs import BAD, WIDTH, Apply, batch, net, regression, samples
from tests.adapters.torch.origins.planting import (
    FAILS,
    Plant,
    Program,
    Table,
    check,
    fails_by_itself,
    named,
    origin_of,
    program,
    run,
    undisturbed,
    unharmed,
)

TABLE = Table()
plant = TABLE.plant


def normalized(x: Tensor) -> Tensor:
    """Shares of a sum, which has to differ from 0."""
    return x / x.abs().sum(-1, keepdim=True)  # planted


def rooted(x: Tensor) -> Tensor:
    """A vector times its length, whose slope at 0 is not finite."""
    return x * x.square().sum(-1, keepdim=True).sqrt()  # planted


class Recomputed(nn.Module):
    """Its middle is thrown away, and computed once more in the backward pass."""

    def __init__(self, function: Callable[[Tensor], Tensor], use_reentrant: bool) -> None:
        super().__init__()
        self.stem = nn.Linear(WIDTH, 8, bias=False)
        self.middle = nn.Sequential(nn.Linear(8, 8, bias=False), Apply(function), nn.Dropout(0.2))
        self.head, self.use_reentrant = nn.Linear(8, 2), use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.middle, self.stem(x), use_reentrant=self.use_reentrant))


def recomputed(function: Callable[[Tensor], Tensor], use_reentrant: bool, sick: bool) -> Program:
    """Checkpointed training with dropout."""
    torch.manual_seed(0)
    return regression(Recomputed(function, use_reentrant), sick)


for use_reentrant in (True, False):
    for phase, op, function in (("forward", "div", normalized), ("backward", "sqrt", rooted)):
        build = partial(recomputed, function, use_reentrant)
        build.__name__ = f"checkpoint_{phase}_reentrant_{use_reentrant}"  # type: ignore[attr-defined]
        TABLE.append(Plant(build, phase, "middle.1", (op,), marked=True))


@plant("forward", "fault.1", "div", step=4, marked=True)
def a_dropout_mask_that_leaves_nothing(sick: bool) -> Program:
    return regression(net(nn.Sequential(nn.Dropout(0.45 if sick else 0.0), Apply(normalized)), wide=6), False)


@plant("forward", "fault.1", "div", samples=(BAD,), marked=True)
def a_fault_after_batch_normalization(sick: bool) -> Program:
    normalization = nn.BatchNorm1d(8, affine=False, momentum=0.5)

    def masked(x: Tensor) -> Tensor:
        return x / keep.amax(-1, keepdim=True)  # planted

    keep = torch.ones(8, 1)
    model = net(nn.Sequential(normalization, Apply(masked)))

    def loss(step: int) -> Tensor:
        keep[BAD] = 0.0 if sick and step == FAILS else 1.0
        return model(samples(step)).square().mean()

    return program(model, loss)


class Recurrent(nn.Module):
    """An LSTM between two layers, and a quotient of its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.lstm = nn.Linear(WIDTH, 4), nn.LSTM(4, 8, batch_first=True, dropout=0.1, num_layers=2)
        self.share, self.head = Apply(normalized), nn.Linear(8, 1)

    def forward(self, x: Tensor, alive: Tensor) -> Tensor:
        _, (state, _) = self.lstm(self.stem(x))
        return self.head(self.share(state[-1] * alive))


@plant("forward", "share", "div", samples=(BAD,), passed=("head",), marked=True)
def an_lstm_whose_last_state_is_masked(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Recurrent()

    def loss(step: int) -> Tensor:
        alive = torch.ones(8, 1)
        alive[BAD] = 0.0 if sick and step == FAILS else 1.0
        return model(batch(step, False, shape=(5, WIDTH)), alive).square().mean()

    return program(model, loss)


class Encoder(nn.Module):
    """A ready-made encoder layer, then shares."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, dropout=0.1, batch_first=True)
        self.share, self.head = Apply(normalized), nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, alive: Tensor) -> Tensor:
        return self.head(self.share(self.layer(x).mean(1) * alive))


@plant("backward", "share", "sqrt", marked=True)
def an_encoder_layer_and_a_root_behind_it(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Encoder()
    model.share = Apply(rooted)

    def loss(step: int) -> Tensor:
        alive = torch.ones(8, 1)
        alive[BAD] = 0.0 if sick and step == FAILS else 1.0
        return model(batch(step, False, shape=(5, WIDTH)), alive).square().mean()

    return program(model, loss)


class Words(nn.Module):
    """A sparse embedding, whose padding is 0, and shares of the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, WIDTH, sparse=True, padding_idx=0)
        self.share, self.head = Apply(normalized), nn.Linear(WIDTH, 1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.share(self.embedding(ids).mean(1)))


@plant("forward", "share", "div", samples=(BAD,), marked=True)
def an_embedding_with_sparse_gradients(sick: bool) -> Program:
    torch.manual_seed(0)
    model = Words()

    def loss(step: int) -> Tensor:
        ids = torch.randint(1, 20, (8, 4), generator=torch.Generator().manual_seed(step))
        if sick and step == FAILS:
            ids[BAD] = 0
        return model(ids).square().mean()

    return program(model, loss)


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


def compiled(sick: bool, backend: str, *, before: bool, function: Callable[[Tensor], Tensor] = normalized) -> Program:
    """A program whose model is compiled before or, by its own method, after it is watched."""
    torch._dynamo.reset()
    model = net(Apply(function))
    called = torch.compile(model, backend=backend) if before else model

    def loss(step: int) -> Tensor:
        if not before and step == 0:
            model.compile(backend=backend)
        return called(batch(step, sick)).square().mean()

    return program(model, loss, watched=called)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("before", [True, False], ids=["compiled-then-watched", "watched-then-compiled"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize(("phase", "op", "function"), [("forward", "div", normalized), ("backward", "sqrt", rooted)])
def test_a_compiled_model_is_replayed_as_it_was_written(
    phase: str, op: str, function: Callable[[Tensor], Tensor], backend: str, before: bool
) -> None:
    def build(sick: bool) -> Program:
        return compiled(sick, backend, before=before, function=function)

    plant = Plant(build, phase, None, (op,), marked=True)
    fails_by_itself(plant)
    unharmed(plant)
    undisturbed(plant)
    assert named(plant).module in {"fault", "_orig_mod.fault"}


def test_a_step_under_no_step_is_not_replayed_twice() -> None:
    """The first failing step is the one that is kept, whatever comes after it."""
    trained = regression(net(Apply(normalized)), True)
    plant = Plant(lambda _: trained, "forward", "fault", ("div",), marked=True)
    with gradscope.watch(trained.model, trained.optimizer) as scope:
        run(trained)
        for number in range(FAILS + 2, FAILS + 6):
            trained.step(number)
    origin = origin_of(scope)
    assert origin is not None
    check(origin, plant)


def test_evaluation_between_the_steps_is_not_taken_for_training() -> None:
    def build(sick: bool) -> Program:
        model = net(Apply(normalized))

        def loss(step: int) -> Tensor:
            value = model(batch(step, sick)).square().mean()
            with torch.no_grad():
                model(samples(step + 40))
            return value

        return program(model, loss)

    plant = Plant(build, "forward", "fault", ("div",), marked=True, rest={"samples": (BAD,)})
    fails_by_itself(plant)
    undisturbed(plant)
    named(plant)


def test_a_broken_evaluation_is_no_step() -> None:
    def build(_sick: bool) -> Program:
        model = net(Apply(normalized))

        def loss(step: int) -> Tensor:
            with torch.no_grad():
                assert not model(batch(FAILS, True)).isfinite().all()
            return model(samples(step)).square().mean()

        return program(model, loss)

    unharmed(Plant(build, "", None, ()))
