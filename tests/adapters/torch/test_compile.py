"""torch.compile beside watch(): not one graph break or compilation more, the same weights, and what can be seen is."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import gradscope
import numpy as np
import pytest
import torch
from gradscope import Scope
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

from gradscope_torch.compiling import Passage
from tests.adapters.torch.training import batches, mlp, names_of, same, sgd, untroubled, watched, weights_of

pytestmark = [
    pytest.mark.usefixtures("fresh"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
STEPS = 12
"""With full statistics at 0, 1, 2, 4 and 8, so that hooks come and go."""
ALL = ["a.weight", "a.bias", "b.c.weight", "b.c.bias", "b.d.weight", "b.d.bias"]

Way = Callable[[Any, Any, bool], tuple[nn.Module, Any]]


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing compiled, nothing counted."""
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


class Head(nn.Module):
    """A part that can be compiled by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.d = nn.Linear(16, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.d(self.c(x).tanh())


class Net(nn.Module):
    """A regression network of 4 inputs and 1 output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 16), Head()

    def forward(self, x: torch.Tensor) -> Any:
        return self.b(self.a(x).relu())


def steps(call: Any, optimizer: Any, count: int = STEPS) -> None:
    """The plainest of loops."""
    for x, y in batches(count):
        optimizer.zero_grad()
        nn.functional.mse_loss(call(x), y).backward()
        optimizer.step()


def unwatched(_model: Any, _optimizer: Any) -> None:
    """No observer."""


# -- ways to compile: each gets a backend, an observer and whether the graph must be whole -----------------------------


def model_before(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """The compiled model is watched."""
    model = Net()
    compiled: Any = torch.compile(model, backend=backend, fullgraph=whole)
    optimizer = sgd(model)
    scope = observe(compiled, optimizer)
    steps(compiled, optimizer)
    return model, scope


def original_watched(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """The model is compiled, and the original is watched."""
    model = Net()
    compiled = torch.compile(model, backend=backend, fullgraph=whole)
    optimizer = sgd(model)
    scope = observe(model, optimizer)
    steps(compiled, optimizer)
    return model, scope


def model_after(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """The model is compiled once it is watched."""
    model = Net()
    optimizer = sgd(model)
    scope = observe(model, optimizer)
    compiled = torch.compile(model, backend=backend, fullgraph=whole)
    steps(compiled, optimizer)
    return model, scope


def model_in_between(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """Some steps run before the model is compiled."""
    model = Net()
    optimizer = sgd(model)
    scope = observe(model, optimizer)
    steps(model, optimizer, 6)
    compiled = torch.compile(model, backend=backend, fullgraph=whole)
    steps(compiled, optimizer)
    return model, scope


def library_model_after(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """A model of torch's own class, whose hooks lie inside of what is compiled."""
    model = mlp()
    optimizer = sgd(model)
    scope = observe(model, optimizer)
    compiled = torch.compile(model, backend=backend, fullgraph=whole)
    steps(compiled, optimizer)
    return model, scope


def in_place_before(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """model.compile(), then watch()."""
    model = Net()
    optimizer = sgd(model)
    model.compile(backend=backend, fullgraph=whole)
    scope = observe(model, optimizer)
    steps(model, optimizer)
    return model, scope


def in_place_after(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """watch(), then model.compile()."""
    model = Net()
    optimizer = sgd(model)
    scope = observe(model, optimizer)
    model.compile(backend=backend, fullgraph=whole)
    steps(model, optimizer)
    return model, scope


def part_before(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """Only a part of the model is compiled."""
    model = Net()
    optimizer = sgd(model)
    model.b = torch.compile(model.b, backend=backend, fullgraph=whole)
    scope = observe(model, optimizer)
    steps(model, optimizer)
    return model, scope


def part_after(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """A part is replaced by what was compiled of it, once the model is watched."""
    model = Net()
    optimizer = sgd(model)
    scope = observe(model, optimizer)
    model.b = torch.compile(model.b, backend=backend, fullgraph=whole)
    steps(model, optimizer)
    return model, scope


def part_in_place(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """A part compiles itself, once the model is watched."""
    model = Net()
    optimizer = sgd(model)
    scope = observe(model, optimizer)
    model.b.compile(backend=backend, fullgraph=whole)
    steps(model, optimizer)
    return model, scope


def forward_replaced(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """The method forward alone is compiled."""
    model = Net()
    optimizer = sgd(model)
    model.forward = torch.compile(model.forward, backend=backend, fullgraph=whole)  # type: ignore[method-assign]
    scope = observe(model, optimizer)
    steps(model, optimizer)
    return model, scope


def model_and_loss(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """A function that calls the model and the loss is compiled."""
    model = Net()
    optimizer = sgd(model)
    loss = torch.compile(lambda x, y: nn.functional.mse_loss(model(x), y), backend=backend, fullgraph=whole)
    scope = observe(model, optimizer)
    for x, y in batches(STEPS):
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()
    return model, scope


def squared_error(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """A loss."""
    return (given - wanted).square().mean()


def loss_alone(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """The loss is compiled, the model is not."""
    model = Net()
    optimizer = sgd(model)
    loss = torch.compile(squared_error, backend=backend, fullgraph=whole)
    scope = observe(model, optimizer)
    for x, y in batches(STEPS):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return model, scope


def model_and_loss_apart(backend: Any, observe: Any, whole: bool) -> tuple[nn.Module, Any]:
    """The model is compiled, and so is the loss."""
    model = Net()
    optimizer = sgd(model)
    loss = torch.compile(squared_error, backend=backend, fullgraph=whole)
    scope = observe(model, optimizer)
    compiled = torch.compile(model, backend=backend, fullgraph=whole)
    for x, y in batches(STEPS):
        optimizer.zero_grad()
        loss(compiled(x), y).backward()
        optimizer.step()
    return model, scope


def whole_step(backend: Any, observe: Any, _whole: bool) -> tuple[nn.Module, Any]:
    """The step of the training is compiled; torch itself breaks its graph."""
    model = Net()
    optimizer = sgd(model)

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    compiled = torch.compile(step, backend=backend)
    scope = observe(model, optimizer)
    for x, y in batches(STEPS):
        compiled(x, y)
    return model, scope


def step_of_the_optimizer(backend: Any, observe: Any, _whole: bool) -> tuple[nn.Module, Any]:
    """The optimizer is compiled, the model is not; torch itself breaks the graph."""
    model = Net()
    optimizer = sgd(model)
    scope = observe(model, optimizer)

    @torch.compile(backend=backend)
    def step() -> None:
        optimizer.step()

    for x, y in batches(STEPS):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        step()
    return model, scope


WAYS: list[Way] = [
    model_before,
    original_watched,
    model_after,
    model_in_between,
    library_model_after,
    in_place_before,
    in_place_after,
    part_before,
    part_after,
    part_in_place,
    forward_replaced,
    model_and_loss,
    loss_alone,
    model_and_loss_apart,
    whole_step,
    step_of_the_optimizer,
]


def counted(way: Way, observe: Any, *, whole: bool, backend: str = "eager") -> tuple[tuple[int, ...], nn.Module, Any]:
    """((graphs, operations in them, graph breaks), model, closed scope) of one way; a graph that is compiled anew is an
    error where none is without an observer."""
    torch.compiler.reset()
    counters.clear()
    counter = CompileCounterWithBackend(backend)
    model, scope = way(counter, observe, whole)
    if scope is not None:
        scope.close()
    return (counter.frame_count, counter.op_count, sum(counters["graph_break"].values())), model, scope


@pytest.mark.parametrize("whole", [False, True], ids=["breaks allowed", "whole graph"])
@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.__name__)
def test_watching_costs_no_graph_break_and_no_compilation_and_no_bit(way: Way, whole: bool) -> None:
    (graphs, operations, breaks), bare, _ = counted(way, unwatched, whole=whole)
    seen, model, scope = counted(way, gradscope.watch, whole=whole)
    assert graphs > 0
    assert seen[:2] == (graphs, operations)
    assert seen[2] <= breaks
    assert same(weights_of(bare), weights_of(model))
    history = scope.histories[0]
    assert untroubled(scope).watched["steps"] >= STEPS
    assert (history["gradient"].column("gradient_norm") > 0).all()
    assert (history["parameter"].column("update_norm") > 0).all()


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.__name__)
def test_every_loss_is_that_of_the_loop_however_it_is_compiled(way: Way) -> None:
    _, _, plain = counted(lambda b, o, w: model_before("eager", o, w), gradscope.watch, whole=False)
    _, _, scope = counted(way, gradscope.watch, whole=False)
    if way is not library_model_after and way is not model_in_between and way is not whole_step:
        assert list(scope.histories[0].run("loss")) == pytest.approx(list(plain.histories[0].run("loss")), rel=1e-5)
    assert len(scope.histories[0].run("loss")) >= STEPS


SEEN = {
    model_before: {""},
    model_after: {""},
    in_place_before: {""},
    in_place_after: {""},
    forward_replaced: {""},
    part_before: {"", "a", "a > relu"},
    part_after: {"", "a", "a > relu"},
    part_in_place: {"", "a", "a > relu"},
    model_and_loss: set(),
}


@pytest.mark.parametrize("way", SEEN, ids=lambda w: w.__name__)
def test_what_lies_outside_of_a_compiled_region_is_seen_and_the_rest_is_said(way: Way) -> None:
    _, _, scope = counted(way, gradscope.watch, whole=False)
    history = scope.histories[0]
    assert {s.name for s in history["module"].subjects} == SEEN[way]
    assert len(history["module"]) == (5 if SEEN[way] else 0)
    assert [s.traits["function"] for s in history["loss"].subjects] == (["mse_loss"] if SEEN[way] else [])
    assert "torch.compile" in scope.report().watched["limits"]["activations"]


def test_modules_inside_a_region_are_not_taken_for_modules_that_never_ran() -> None:
    _, _, scope = counted(model_before, gradscope.watch, whole=False)
    assert {"", "a", "b", "b.c", "b.d"} <= set(scope.histories[0].facts["called"])


def test_the_names_are_those_of_the_plain_model() -> None:
    _, _, scope = counted(model_before, gradscope.watch, whole=False)
    assert [s.name for s in scope.histories[0]["gradient"].subjects] == ALL


def test_what_is_compiled_beside_the_modules_ends_their_observation_and_no_number_is_repeated() -> None:
    _, _, scope = counted(step_of_the_optimizer, gradscope.watch, whole=False)
    assert list(scope.histories[0]["module"].steps) == [0]


@pytest.mark.parametrize("way", [model_before, in_place_before], ids=lambda w: w.__name__)
def test_code_that_was_compiled_long_before_is_not_compiled_anew(way: Way) -> None:
    model = Net()
    compiled: Any = model
    if way is in_place_before:
        model.compile(backend="eager")
    else:
        compiled = torch.compile(model, backend="eager")
    optimizer = sgd(model)
    steps(compiled, optimizer, 3)
    with torch._dynamo.config.patch(error_on_recompile=True), gradscope.watch(compiled, optimizer) as scope:
        steps(compiled, optimizer)
    assert untroubled(scope).watched["steps"] == STEPS


def test_a_compiled_function_that_nobody_told_of_is_not_compiled_anew_where_that_is_an_error() -> None:
    model = Net()
    loss = torch.compile(lambda x, y: nn.functional.mse_loss(model(x), y), backend="eager")
    optimizer = sgd(model)
    for x, y in batches(2):
        loss(x, y).backward()
        optimizer.zero_grad()
    with torch._dynamo.config.patch(error_on_recompile=True), gradscope.watch(model, optimizer) as scope:
        for x, y in batches(STEPS):
            optimizer.zero_grad()
            loss(x, y).backward()
            optimizer.step()
    assert untroubled(scope).watched["steps"] == STEPS


def test_a_reset_of_the_compiler_while_watched_is_survived() -> None:
    model = Net()
    optimizer = sgd(model)
    compiled = torch.compile(model, backend="eager")
    with gradscope.watch(compiled, optimizer) as scope:
        steps(compiled, optimizer, 3)
        torch.compiler.reset()
        steps(compiled, optimizer, 6)
    assert untroubled(scope).watched["steps"] == 9


def test_closing_leaves_nothing_on_a_compiled_model_or_in_torch() -> None:
    before = torch.compile, nn.Module.compile, list(torch._dynamo.callback_handler.start_callbacks)
    model = Net()
    model.compile(backend="eager")
    held = model._compiled_call_impl
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer):
        steps(model, optimizer, 1)
        assert torch.compile is not before[0]
    assert model._compiled_call_impl is held
    assert (torch.compile, nn.Module.compile, list(torch._dynamo.callback_handler.start_callbacks)) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("in_place", [False, True])
def test_another_model_that_is_compiled_meanwhile_disturbs_nothing(in_place: bool) -> None:
    def run(observe: Any) -> tuple[int, list[torch.Tensor], Any]:
        torch.compiler.reset()
        model = mlp()
        optimizer = sgd(model)
        scope = observe(model, optimizer)
        steps(model, optimizer, 3)
        counter = CompileCounterWithBackend("eager")
        judge: Any = Head()
        for p in judge.parameters():
            torch.nn.init.constant_(p, 0.1)
        expand = torch.ones(1, 16)
        if in_place:
            judge.compile(backend=counter, fullgraph=True)
        else:
            judge = torch.compile(judge, backend=counter, fullgraph=True)
        for x, y in batches(STEPS):
            optimizer.zero_grad()
            out = model(x)
            (nn.functional.mse_loss(out, y) + judge(out * expand).square().mean()).backward()
            optimizer.step()
        if scope is not None:
            scope.close()
        return counter.frame_count, weights_of(model), scope

    bare, seen = run(unwatched), run(gradscope.watch)
    assert bare[0] == seen[0] == 1
    assert same(bare[1], seen[1])
    history = seen[2].histories[0]
    assert untroubled(seen[2]).watched["limits"] == {}
    assert list(history["module"].steps) == [0, 1, 2, 4, 8]
    assert {s.name for s in history["module"].subjects} == {"", "0", "0 > relu", "3"}
    assert (np.isfinite(history["loss"].column("value")).sum(axis=1) == 1).all()


def test_two_observers_of_one_compiled_model_leave_in_any_order() -> None:
    model = Net()
    optimizer = sgd(model)
    first = gradscope.watch(model, optimizer)
    model.compile(backend="eager")
    held = model._compiled_call_impl
    second = gradscope.watch(model, optimizer)
    steps(model, optimizer, 20)
    first.close()
    steps(model, optimizer, 3)
    second.close()
    assert [untroubled(s).watched["steps"] for s in (first, second)] == [20, 23]
    for scope in (first, second):
        assert [s.name for s in scope.histories[0]["module"].subjects] == [""]
        assert list(scope.histories[0]["module"].steps) == [0, 1, 2, 4, 8, 16]
    assert vars(model)["_compiled_call_impl"] is beneath(held)


def beneath(held: Any) -> Any:
    """What torch made, beneath the passages of observers."""
    while isinstance(held, Passage):
        held = held.original
    return held


def test_a_model_that_compiled_itself_is_copied_without_the_observer() -> None:
    model = Net()
    model.compile(backend="eager")
    optimizer = sgd(model)
    with gradscope.watch(model, optimizer) as scope:
        twin = copy.deepcopy(model)
        assert twin._compiled_call_impl is None
        steps(twin, sgd(twin), 3)
    assert not scope.histories


def test_an_exception_inside_a_region_leaves_the_observer_in_order() -> None:
    class Failing(Net):
        """Raises once."""

        fails = True

        def forward(self, x: torch.Tensor) -> Any:
            if self.fails:
                raise ValueError("once")
            return super().forward(x)

    model = Failing()
    compiled = torch.compile(model, backend="eager")
    optimizer = sgd(model)
    with gradscope.watch(compiled, optimizer) as scope:
        with pytest.raises(ValueError, match="once"):
            steps(compiled, optimizer, 1)
        model.fails = False
        steps(compiled, optimizer, 6)
    history = scope.histories[0]
    assert untroubled(scope).watched["steps"] == 6
    assert [s.name for s in history["module"].subjects] == [""]
    assert len(history["loss"]) == 4


@pytest.mark.parametrize("kind", [torch.float16, None])
def test_gradients_that_underflow_inside_a_region_are_found(kind: torch.dtype | None) -> None:
    model = Net()

    @torch.compile(backend="aot_eager")
    def loss_of(x: torch.Tensor, y: torch.Tensor) -> Any:
        with torch.autocast("cpu", dtype=kind, enabled=kind is not None):
            out = model(x)
        return 1e-5 * nn.functional.mse_loss(out.float(), y)

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-12)

    def loop() -> None:
        for x, y in batches(30):
            optimizer.zero_grad()
            loss_of(x, y).backward()
            optimizer.step()

    report = untroubled(watched(model, optimizer, loop))
    assert ("gradient-underflow" in names_of(report)) is (kind is not None)


def test_activations_inside_a_region_are_not_judged_and_the_report_says_why() -> None:
    _, _, scope = counted(model_before, gradscope.watch, whole=False)
    reasons = {a.rule: a.reason for a in scope.report().not_judged}
    for name in ("dead-units", "saturated-units"):
        assert "the model is compiled by torch.compile" in reasons[name]
    assert "vanishing-gradient" in reasons


def test_an_illness_of_a_compiled_model_is_found() -> None:
    model = Net()
    compiled: Any = torch.compile(model, backend="eager")
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(20):
            nn.functional.mse_loss(compiled(x), y).backward()
            optimizer.step()

    assert "stale-gradient" in names_of(untroubled(watched(compiled, optimizer, loop)))


def test_a_loss_that_a_compiled_model_is_given_wrongly_is_found() -> None:
    model = Net()
    compiled: Any = torch.compile(model, backend="eager")
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(20):
            optimizer.zero_grad()
            nn.functional.mse_loss(compiled(x), y[:, 0]).backward()
            optimizer.step()

    assert "broadcast-loss" in names_of(untroubled(watched(compiled, optimizer, loop)))


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("way", [model_after, in_place_after, part_before], ids=lambda w: w.__name__)
def test_the_weights_that_inductor_makes_are_the_same_bit_for_bit(way: Way) -> None:
    bare, model = (counted(way, o, whole=True, backend="inductor") for o in (unwatched, gradscope.watch))
    assert bare[0] == model[0]
    assert same(weights_of(bare[1]), weights_of(model[1]))
    assert isinstance(model[2], Scope)
    assert untroubled(model[2]).watched["steps"] == STEPS


def traced(model: nn.Module) -> Any:
    """The model as TorchScript, from one run."""
    return torch.jit.trace(model, torch.ones(2, 4))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("make", [torch.jit.script, traced])
@pytest.mark.parametrize("part", [True, False], ids=["a part", "all of it"])
def test_what_is_torch_script_is_watched_by_its_parameters(make: Any, part: bool) -> None:
    def run(observe: Any) -> tuple[list[torch.Tensor], Any]:
        torch.manual_seed(0)
        body, head = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU()), nn.Linear(16, 1)
        model = nn.Sequential(make(body), head) if part else make(nn.Sequential(body, head))
        optimizer = sgd(model)
        scope = observe(model, optimizer)
        steps(model, optimizer)
        if scope is not None:
            scope.close()
        return weights_of(model), scope

    bare, seen = run(unwatched), run(gradscope.watch)
    assert same(bare[0], seen[0])
    report = untroubled(seen[1])
    assert report.watched["steps"] == STEPS
    assert "TorchScript" in report.watched["limits"]["activations"]
    assert (seen[1].histories[0]["gradient"].column("gradient_norm") > 0).all()
    assert not names_of(report)
