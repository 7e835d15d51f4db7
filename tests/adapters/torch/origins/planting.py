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
    weights: list[list[bytes]]
    random: list[Tensor]


@dataclass(frozen=True, slots=True)
class Plant:
    """build(sick) gives the program, or its twin. Of the origin: phase, module, op (one of ops), step, and fields that
    must be as in `rest`; `why` holds words that the reason must have."""

    build: Callable[[bool], Program]
    phase: str
    module: str | None
    ops: tuple[str, ...]
    step: int = FAILS
    why: tuple[str, ...] = ()
    marked: bool = False
    rest: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.build.__name__.replace("_", "-")


class Table(list[Plant]):
    """The plants of one file, each added by a decorator of the function that builds it."""

    def plant(self, phase: str, module: str | None, *ops: str, step: int = FAILS, **said: Any) -> Any:
        """A decorator; `said` are further fields of the origin, `why` and `marked` those of the plant."""

        def add(build: Callable[[bool], Program]) -> Callable[[bool], Program]:
            why, marked = said.pop("why", ()), said.pop("marked", False)
            self.append(Plant(build, phase, module, ops, step, why, marked, said))
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


def bits(tensors: list[Tensor]) -> list[bytes]:
    """The bytes of tensors, so that NaN equals NaN."""
    return [t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors]


def state_of(trained: Program) -> list[bytes]:
    """Parameters, buffers, gradients and what the optimizers keep, as bytes."""
    kept = [v for o in trained.optimizers for s in o.state.values() for v in s.values() if isinstance(v, Tensor)]
    gradients = [p.grad for p in trained.model.parameters() if p.grad is not None and not p.grad.is_sparse]
    return bits([*trained.model.state_dict().values(), *gradients, *kept])


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


def origin_of(scope: Scope) -> Origin | None:
    """The one origin that the verdicts on what is not finite carry; None when there is no such verdict."""
    verdicts = [v for v in untroubled(scope).verdicts if v.name in {"non-finite-loss", "non-finite-gradient"}]
    origins = [v.origin for v in verdicts if v.origin is not None]
    assert bool(origins) == bool(verdicts), (
        f"no origin: {[(v.name, v.step, v.module) for v in verdicts]}, {scope.limits}"
    )
    assert all(o == origins[0] for o in origins)
    return origins[0] if origins else None


def fails_by_itself(plant: Plant) -> None:
    """Without gradscope the program fails in the step that it says, and its twin never does."""
    assert run(plant.build(True)).failed == plant.step
    assert run(plant.build(False)).failed is None


def named(plant: Plant) -> Origin:
    """The origin of the sick program, after a look that it is the planted one."""
    scope, _ = watched_run(plant.build(True))
    origin = origin_of(scope)
    assert origin is not None
    check(origin, plant)
    return origin


def check(origin: Origin, plant: Plant) -> None:
    """Compares an origin with what was planted."""
    told = origin.as_dict()
    assert told == {**told, "phase": plant.phase, "step": plant.step}
    assert plant.module in {None, origin.module}, told
    assert origin.op in plant.ops or not plant.ops, told
    for name, expected in plant.rest.items():
        assert getattr(origin, name) == expected, told
    for words in plant.why:
        assert words.lower() in origin.reason.lower(), told
    if plant.marked:
        assert origin.source is not None, told
        file, _, line = origin.source.rpartition(":")
        assert linecache.getline(file, int(line)).rstrip().endswith(MARK), told


def unharmed(plant: Plant) -> None:
    """The twin has no origin, no verdict on what is not finite, and nothing that failed in the observer."""
    scope, trace = watched_run(plant.build(False))
    assert trace.failed is None
    assert origin_of(scope) is None
    assert not any(v.name.startswith("non-finite") for v in scope.report().verdicts)
    assert not any("origin" in h.facts for h in scope.histories)


def undisturbed(plant: Plant) -> None:
    """Weights, buffers, gradients, optimizer state and random streams are those of the unwatched run, bit for bit:
    before, in and after the failing step."""
    bare = run(plant.build(True))
    scope, seen = watched_run(plant.build(True))
    untroubled(scope)
    assert seen.failed == bare.failed
    assert seen.weights == bare.weights
    assert all(torch.equal(a, b) for a, b in zip(seen.random, bare.random, strict=True))
