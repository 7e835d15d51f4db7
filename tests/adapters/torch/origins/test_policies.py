"""on_nonfinite: "skip" withholds the step, "raise" stops before it, "ignore" seeks nothing; nothing is held after."""

from __future__ import annotations

import copy
import gc
import linecache
import weakref
from collections.abc import Callable
from typing import Any

import gradscope
import pytest
import torch
from gradscope import NonFiniteError
from gradscope.errors import UsageError
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import BAD, Apply, batch, net
from tests.adapters.torch.origins.planting import FAILS, Program, changed, origin_of, program, run, state_of
from tests.adapters.torch.training import untroubled

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2),
    "sgd-with-momentum": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "adam-fused": lambda p: torch.optim.Adam(p, lr=1e-2, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-2, momentum=0.5),
}


def normalized(x: Tensor) -> Tensor:
    """Shares of a sum, which has to differ from 0."""
    return x / x.abs().sum(-1, keepdim=True)  # planted


def ill(optimizer: str = "adam", *, sick: bool = True) -> Program:
    """A program whose fourth step divides zero by zero."""
    torch.manual_seed(0)
    model = net(Apply(normalized))
    chosen = OPTIMIZERS[optimizer](model.parameters())
    return program(model, lambda step: model(batch(step, sick)).square().mean(), chosen)


def kept(trained: Program) -> dict[str, bytes]:
    """What a step that is withheld must not change: all but the gradients."""
    return {name: value for name, value in state_of(trained).items() if not name.startswith("gradient of")}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_skipped_step_leaves_weights_and_state_as_they_were(optimizer: str) -> None:
    trained = ill(optimizer)
    with gradscope.watch(trained.model, trained.optimizer, on_nonfinite="skip"):
        for number in range(FAILS):
            trained.step(number)
        before, settings = kept(trained), copy.deepcopy(trained.optimizer.state_dict()["param_groups"])
        assert not trained.step(FAILS).isfinite()
        assert changed([kept(trained)], [before]) == []
        assert trained.optimizer.state_dict()["param_groups"] == settings


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_after_a_skipped_step_as_if_it_had_not_been(optimizer: str) -> None:
    skipping, bare = ill(optimizer), ill(optimizer)
    with gradscope.watch(skipping.model, skipping.optimizer, on_nonfinite="skip") as scope:
        for number in range(8):
            skipping.step(number)
    for number in range(8):
        if number != FAILS:
            bare.step(number)
    assert changed([kept(skipping)], [kept(bare)]) == []
    assert all(bool(p.isfinite().all()) for p in skipping.model.parameters())
    origin = origin_of(scope)
    assert origin is not None
    assert (origin.phase, origin.op, origin.module, origin.step) == ("forward", "div", "fault", FAILS)


def test_skipped_steps_are_counted() -> None:
    trained = ill()
    with gradscope.watch(trained.model, trained.optimizer, on_nonfinite="skip") as scope:
        for number in [0, 1, 2, FAILS, 4, FAILS, 6]:
            trained.step(number)
        assert scope.skipped_steps == 2
    untroubled(scope)
    assert scope.histories[0].run("withheld").tolist() == [0, 0, 0, 1, 0, 1, 0]


def test_nothing_is_skipped_in_a_healthy_run() -> None:
    skipping, bare = ill(sick=False), ill(sick=False)
    with gradscope.watch(skipping.model, skipping.optimizer, on_nonfinite="skip") as scope:
        seen = run(skipping)
    assert changed(seen.weights, run(bare).weights) == []
    assert (scope.skipped_steps, origin_of(scope)) == (0, None)


def test_a_scheduler_goes_on_over_a_skipped_step() -> None:
    trained = ill("sgd")
    scheduler = torch.optim.lr_scheduler.StepLR(trained.optimizer, 1, gamma=0.5)
    with gradscope.watch(trained.model, trained.optimizer, on_nonfinite="skip"):
        for number in range(FAILS + 1):
            trained.step(number)
            scheduler.step()
    assert trained.optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 / 2 ** (FAILS + 1))


def test_raise_stops_before_the_weights_change_and_carries_the_origin() -> None:
    trained = ill()
    scope = gradscope.watch(trained.model, trained.optimizer, on_nonfinite="raise")
    for number in range(FAILS):
        trained.step(number)
    before = kept(trained)
    with pytest.raises(NonFiniteError) as raised:
        trained.step(FAILS)
    assert changed([kept(trained)], [before]) == []
    assert raised.value.origin is not None
    assert (raised.value.origin.phase, raised.value.origin.op) == ("forward", "div")
    assert raised.value.origin.samples == (BAD,)
    assert "fault" in str(raised.value)
    scope.close()
    assert origin_of(scope) == raised.value.origin


def test_after_a_raise_the_loop_may_go_on() -> None:
    trained, bare = ill(), ill()
    with gradscope.watch(trained.model, trained.optimizer, on_nonfinite="raise") as scope:
        for number in range(8):
            try:
                trained.step(number)
            except NonFiniteError:
                assert number == FAILS
    for number in range(8):
        if number != FAILS:
            bare.step(number)
    assert changed([kept(trained)], [kept(bare)]) == []
    untroubled(scope)


def test_ignore_finds_no_origin_and_still_judges() -> None:
    trained = ill()
    with gradscope.watch(trained.model, trained.optimizer, on_nonfinite="ignore") as scope:
        run(trained)
    verdicts = [v for v in untroubled(scope).verdicts if v.name.startswith("non-finite")]
    assert verdicts
    assert [v.origin for v in verdicts] == [None] * len(verdicts)


@pytest.mark.parametrize("policy", ["skipp", "Skip", "", "none"])
def test_a_policy_that_is_none_is_refused(policy: str) -> None:
    trained = ill()
    with pytest.raises(UsageError, match="'report', 'skip', 'raise', 'ignore'"):
        gradscope.watch(trained.model, trained.optimizer, on_nonfinite=policy)


@pytest.mark.parametrize("policy", ["report", "skip", "raise", "ignore"])
def test_no_batch_and_no_loss_is_held_after_its_step(policy: str) -> None:
    trained = ill()
    seen: list[weakref.ref[Tensor]] = []

    def step(number: int) -> None:
        trained.optimizer.zero_grad()
        x = batch(number, True)
        out = trained.model(x)
        loss = out.square().mean()
        loss.backward()
        seen.extend(map(weakref.ref, (x, out, loss)))
        del x, out, loss
        trained.optimizer.step()

    with gradscope.watch(trained.model, trained.optimizer, on_nonfinite=policy):
        for number in range(FAILS + 3):
            try:
                step(number)
            except NonFiniteError as error:
                error.__traceback__ = None
            if any(r() is not None for r in seen):
                gc.collect()
            assert [r() for r in seen] == [None] * len(seen), f"step {number}"


def hooks_of(model: nn.Module, optimizer: Any) -> list[Any]:
    """Every hook that hangs on a model, its parameters or an optimizer."""
    found: list[Any] = []
    for module in model.modules():
        for name, value in vars(module).items():
            if name.endswith("_hooks") and value:
                found.append((name, module))
    for p in model.parameters():
        found += [*(p._backward_hooks or ()), *(p._post_accumulate_grad_hooks or ())]
    for name, value in vars(optimizer).items():
        if name.endswith("_hooks") and value:
            found.append((name, optimizer))
    return found


@pytest.mark.parametrize("policy", ["report", "skip", "raise", "ignore"])
def test_no_hook_is_left_after_close(policy: str) -> None:
    trained = ill()
    before = (torch.Tensor.backward, torch.autograd.backward, trained.optimizer.step, nn.Module.__call__)
    assert hooks_of(trained.model, trained.optimizer) == []
    with gradscope.watch(trained.model, trained.optimizer, on_nonfinite=policy):
        for number in range(FAILS + 2):
            try:
                trained.step(number)
            except NonFiniteError:
                pass
    assert hooks_of(trained.model, trained.optimizer) == []
    assert (torch.Tensor.backward, torch.autograd.backward, trained.optimizer.step, nn.Module.__call__) == before
    assert not torch.is_anomaly_enabled()
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_gradients_are_the_same_objects_with_the_same_values_after_a_replay() -> None:
    watched, bare = ill("sgd"), ill("sgd")
    for trained in (watched, bare):
        for p in trained.model.parameters():
            p.grad = torch.zeros_like(p)

    def gradients(trained: Program, number: int) -> None:
        trained.optimizer.zero_grad(set_to_none=False)
        trained.model(batch(number, True)).square().mean().backward()

    held = [p.grad for p in watched.model.parameters()]
    with gradscope.watch(watched.model, watched.optimizer) as scope:
        for number in range(FAILS + 1):
            gradients(watched, number)
            watched.optimizer.step()
            gradients(bare, number)
            bare.optimizer.step()
            assert all(p.grad is g for p, g in zip(watched.model.parameters(), held, strict=True))
            assert changed([state_of(watched)], [state_of(bare)]) == []
    assert origin_of(scope) is not None


def test_mode_and_requirement_of_gradients_are_as_they_were() -> None:
    trained = ill()
    trained.model.fault.eval()
    trained.model.stem.weight.requires_grad_(False)
    modes = [m.training for m in trained.model.modules()]
    with gradscope.watch(trained.model, trained.optimizer) as scope:
        for number in range(FAILS + 1):
            trained.step(number)
        assert [m.training for m in trained.model.modules()] == modes
        assert [p.requires_grad for p in trained.model.parameters()] == [False, True, True]
        assert torch.is_grad_enabled()
    assert origin_of(scope) is not None


def test_a_report_says_how_many_steps_were_withheld() -> None:
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with gradscope.watch(model, optimizer, on_nonfinite="skip") as scope:
        for step in range(8):
            optimizer.zero_grad()
            (model(torch.ones(2, 4)).sum() * (float("nan") if step % 4 == 1 else 1.0)).backward()
            optimizer.step()
        report = scope.report()
    assert report.watched["objectives"][0]["withheld"] == 2
    assert "withheld: 2 of 8 steps of SGD 1" in str(report)


class OwnStep(torch.optim.Optimizer):
    """An optimizer that asks nobody whether there is a gradient."""

    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.data.sub_(group["rate"] * p.grad)


def test_a_step_of_an_optimizer_of_ones_own_is_withheld() -> None:
    model = torch.nn.Linear(4, 1)
    optimizer = OwnStep(model.parameters(), {"rate": 0.1})
    with gradscope.watch(model, optimizer, on_nonfinite="skip") as scope:
        for step in range(4):
            before = model.weight.detach().clone()
            optimizer.zero_grad()
            (model(torch.ones(2, 4)).sum() * (float("nan") if step == 2 else 1.0)).backward()
            optimizer.step()
            assert torch.equal(before, model.weight) is (step == 2)
    assert scope.skipped_steps == 1


def test_the_line_of_an_operation_leads_the_verdict() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.stem(x) * 0).abs().sqrt().sum()  # planted

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with gradscope.watch(model, optimizer) as scope:
        model(torch.ones(2, 4)).backward()
        optimizer.step()
    verdict = scope.report().verdicts[0]
    assert verdict.origin is not None
    assert verdict.source == verdict.origin.source
    file, _, line = str(verdict.source).rpartition(":")
    assert linecache.getline(file, int(line)).rstrip().endswith("# planted")


@pytest.mark.parametrize("folder", ["", 3, True, b"x"])
def test_a_folder_that_is_none_is_refused(folder: Any) -> None:
    model = torch.nn.Linear(4, 1)
    with pytest.raises(gradscope.GradscopeError, match="expected a folder"):
        gradscope.watch(model, torch.optim.SGD(model.parameters(), 0.1), on_nonfinite_save=folder)


def test_every_step_that_is_withheld_is_looked_at_for_itself() -> None:
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    found = []
    with gradscope.watch(model, optimizer, on_nonfinite="raise"):
        for step in range(4):
            x = torch.ones(4, 4)
            x[step, 1] = float("nan")
            optimizer.zero_grad()
            model(x).sum().backward()
            with pytest.raises(NonFiniteError) as caught:
                optimizer.step()
            assert caught.value.origin is not None
            found.append((caught.value.origin.step, caught.value.origin.samples))
    assert found == [(step, (step,)) for step in range(4)]
