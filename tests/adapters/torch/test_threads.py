"""Watches of several threads at once: each looks at its own steps."""

from __future__ import annotations

import threading

import gradscope
import torch
from gradscope import Report
from torch import nn

STEPS = 40


def train(number: int, reports: dict[int, Report], *, broken: bool) -> None:
    """One thread: a model of its own, watched; a broken one is given NaN at step 10."""
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(number)
    with gradscope.watch(model, optimizer) as scope:
        for step in range(STEPS):
            x = torch.randn(16, 10, generator=generator)
            if broken and step == 10:
                x[3, 4] = float("nan")
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        reports[number] = scope.report()


def test_a_nan_of_one_thread_is_none_of_the_others() -> None:
    reports: dict[int, Report] = {}
    threads = [threading.Thread(target=train, args=(n, reports), kwargs={"broken": n == 1}) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reports[n].watched["objectives"][0]["parameters"] for n in range(3)] == [4, 4, 4]
    assert [any(v.name.startswith("non-finite") for v in reports[n].verdicts) for n in range(3)] == [False, True, False]
    origin = next(v.origin for v in reports[1].verdicts if v.origin)
    assert (origin.phase, origin.samples, origin.features) == ("input", (3,), (4,))


def test_training_in_another_thread_than_watch_is_seen() -> None:
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def loop() -> None:
        for step in range(8):
            x = torch.randn(4, 4)
            x[2, 1] = float("nan") if step == 5 else 0.0
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    with gradscope.watch(model, optimizer) as scope:
        thread = threading.Thread(target=loop)
        thread.start()
        thread.join()
        origin = next(v.origin for v in scope.report().verdicts if v.origin)
    assert (origin.phase, origin.step, origin.samples) == ("input", 5, (2,))
