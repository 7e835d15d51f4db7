"""Programs with a planted fault and their healthy twins: how they are run, and what their origin must say."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradscope
import torch
from gradscope import Origin, Scope
from torch import Tensor, nn
from torch.optim import Optimizer

from tests.adapters.torch.training import untroubled

FAILS = 3
"""The step that most faults show in: one that is not observed in full."""
STEPS = 5
MARK = "# planted"
"""Stands at the end of the line that an origin has to point at."""


@dataclass(slots=True)
class Program:
    """step(number) trains one step, from zero_grad() to the last optimizer's step(), and gives the loss."""

    model: nn.Module
    optimizer: Any
    step: Callable[[int], Tensor]
    watched: Any = None

    @property
    def optimizers(self) -> list[Optimizer]:
        """All of them."""
        return list(self.optimizer) if isinstance(self.optimizer, list) else [self.optimizer]


@dataclass(frozen=True, slots=True)
class Trace:
    """failed: the step whose loss or gradient was not finite. weights: bits of every state after each step. random:
    the state of the global generator after each step."""

    failed: int | None
    weights: list[dict[str, bytes]]
    random: list[Tensor]


@dataclass(frozen=True, slots=True)
class Plant:
    """build(sick) gives the program, or its twin. Of the origin: phase, module, op (one of ops), step, and fields that
    must be as in `rest`; `why` holds words that the reason must have, `passed` modules that passed it on, in order."""

    build: Callable[[bool], Program]
    phase: str
    module: str | None
    ops: tuple[str, ...]
    step: int = FAILS
    why: tuple[str, ...] = ()
    marked: bool = False
    passed: tuple[str, ...] = ()
    rest: dict[str, Any] = field(default_factory=dict)

    def made(self, sick: bool) -> Program:
        """The program, always the same."""
        torch.manual_seed(0)
        return self.build(sick)

    def __str__(self) -> str:
        return self.build.__name__.replace("_", "-")


class Table(list[Plant]):
    """The plants of one file, each added by a decorator of the function that builds it."""

    def plant(self, phase: str, module: str | None, *ops: str, step: int = FAILS, **said: Any) -> Any:
        """A decorator; `said` are further fields of the plant, and of the origin."""

        def add(build: Callable[[bool], Program]) -> Callable[[bool], Program]:
            own = {name: said.pop(name) for name in ("why", "marked", "passed") if name in said}
            self.append(Plant(build, phase, module, ops, step, **own, rest=said))
            return build

        return add


def program(
    model: nn.Module, loss: Callable[[int], Tensor], optimizer: Optimizer | None = None, *, watched: Any = None
) -> Program:
    """The plainest of loops around a loss; by default with SGD."""
    chosen = optimizer or torch.optim.SGD(model.parameters(), lr=1e-3)

    def step(number: int) -> Tensor:
        chosen.zero_grad()
        value = loss(number)
        value.backward()
        chosen.step()
        return value

    return Program(model, chosen, step, watched)


def bits(tensor: Tensor) -> bytes:
    """Its bytes, so that NaN equals NaN."""
    dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    return dense.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def state_of(trained: Program) -> dict[str, bytes]:
    """Parameters, buffers, gradients and what the optimizers keep, as bytes."""
    tensors = dict(trained.model.state_dict())
    tensors |= {f"gradient of {n}": p.grad for n, p in trained.model.named_parameters() if p.grad is not None}
    for i, optimizer in enumerate(trained.optimizers):
        for j, kept in enumerate(optimizer.state.values()):
            tensors |= {f"{key} {i} {j}": value for key, value in kept.items() if isinstance(value, Tensor)}
    return {name: bits(tensor) for name, tensor in tensors.items()}


def changed(left: list[dict[str, bytes]], right: list[dict[str, bytes]]) -> list[tuple[int, str]]:
    """(step, name) of all that differs."""
    both = [(i, a, b) for i, (a, b) in enumerate(zip(left, right, strict=True))]
    return [(i, name) for i, a, b in both for name in sorted({*a, *b}) if a.get(name) != b.get(name)]


def broken(trained: Program, loss: Tensor) -> bool:
    """Whether the loss or a gradient is not finite."""
    gradients = [p.grad for p in trained.model.parameters() if p.grad is not None]
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    return not all(bool(torch.isfinite(t).all()) for t in [loss, *dense])


def run(trained: Program, steps: int = STEPS) -> Trace:
    """Trains until a step fails, and one step more, whose randomness must not have changed."""
    torch.manual_seed(5)
    failed: int | None = None
    weights, random = [], []
    for number in range(steps):
        loss = trained.step(number)
        weights.append(state_of(trained))
        random.append(torch.get_rng_state())
        if failed is not None:
            break
        if broken(trained, loss.detach()):
            failed = number
    return Trace(failed, weights, random)


def watched_run(trained: Program, steps: int = STEPS, **options: Any) -> tuple[Scope, Trace]:
    """(closed scope, what happened) under watch."""
    with gradscope.watch(trained.watched or trained.model, trained.optimizer, **options) as scope:
        trace = run(trained, steps)
    return scope, trace


def origins_of(scope: Scope) -> list[Origin]:
    """The origins that the verdicts on what is not finite carry, of each objective one; none without a verdict."""
    verdicts = [v for v in untroubled(scope).verdicts if v.name in {"non-finite-loss", "non-finite-gradient"}]
    told: dict[str | None, Origin] = {}
    for verdict in verdicts:
        if verdict.origin is not None:
            assert told.setdefault(verdict.objective, verdict.origin) == verdict.origin
    ungrounded = [(v.name, v.step, v.module) for v in verdicts if not told]
    assert not ungrounded, (ungrounded, scope.limits)
    return list(told.values())


def origin_of(scope: Scope) -> Origin | None:
    """That of the first objective; None when there is no verdict on what is not finite."""
    return next(iter(origins_of(scope)), None)


def fails_by_itself(plant: Plant) -> None:
    """Without gradscope the program fails in the step that it says, and its twin never does."""
    assert run(plant.made(True)).failed == plant.step
    assert run(plant.made(False)).failed is None


def named(plant: Plant) -> Origin:
    """The origin of the sick program, after a look that it is the planted one."""
    scope, _ = watched_run(plant.made(True))
    origin = origin_of(scope)
    assert origin is not None
    check(origin, plant)
    return origin


def check(origin: Origin, plant: Plant) -> None:
    """Compares an origin with what was planted."""
    told = origin.as_dict()
    assert (told["phase"], told["step"]) == (plant.phase, plant.step), told
    assert plant.module in {None, origin.module}, told
    assert origin.op in plant.ops or not plant.ops, told
    assert {name: getattr(origin, name) for name in plant.rest} == plant.rest
    assert follows(plant.passed, origin.spread), told
    assert origin.module not in origin.spread, told
    for words in plant.why:
        assert words.lower() in origin.reason.lower(), told
    if plant.marked:
        assert origin.source is not None, told
        file, _, line = origin.source.rpartition(":")
        assert linecache.getline(file, int(line)).rstrip().endswith(MARK), told


def follows(some: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether some names stand among others, in this order."""
    rest = iter(names)
    return all(name in rest for name in some)


def unharmed(plant: Plant) -> None:
    """The twin has no origin, no verdict on what is not finite, and nothing that failed in the observer."""
    scope, trace = watched_run(plant.made(False))
    assert trace.failed is None
    assert origin_of(scope) is None
    assert not any(v.name.startswith("non-finite") for v in scope.report().verdicts)
    assert not any("origin" in h.facts for h in scope.histories)


def undisturbed(plant: Plant) -> None:
    """Weights, buffers, gradients, optimizer state and random streams are those of the unwatched run, bit for bit:
    before, in and after the failing step."""
    bare = run(plant.made(True))
    scope, seen = watched_run(plant.made(True))
    untroubled(scope)
    assert seen.failed == bare.failed
    assert changed(seen.weights, bare.weights) == []
    assert all(torch.equal(a, b) for a, b in zip(seen.random, bare.random, strict=True))
