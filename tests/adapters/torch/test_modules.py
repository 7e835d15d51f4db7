"""Modules of all kinds, what they take and return, and calls outside of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from gradscope.history import MISSING
from torch import nn

from tests.adapters.torch.training import (
    OBSERVERS,
    batches,
    mlp,
    observed,
    sgd,
    subjects,
    train,
    untroubled,
)


class DictOutput(nn.Module):
    """Takes keywords, gives a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, *, inputs: torch.Tensor) -> dict[str, Any]:
        hidden = self.body(inputs).relu()
        return {"hidden": hidden, "prediction": self.out(hidden), "nothing": None}


@OBSERVERS
def test_dict_outputs_and_keyword_inputs_are_taken(observer: str) -> None:
    model = DictOutput()
    optimizer = sgd(model)
    scope = observed(
        observer, model, optimizer, lambda: train(lambda x: model(inputs=x)["prediction"], optimizer, steps=6)
    )
    untroubled(scope)
    assert {"body", "out"} <= set(subjects(scope, "module"))


class Last(nn.Module):
    """The last output of a recurrent layer, through a linear one."""

    def __init__(self, layer: nn.Module, features: int):
        super().__init__()
        self.layer, self.out = layer, nn.Linear(features, 1)

    def forward(self, x: torch.Tensor) -> Any:
        x = x[:, :, None].expand(-1, -1, 4)
        found = self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return self.out((found[0] if isinstance(found, tuple) else found)[:, -1])


class Packed(nn.Module):
    """An LSTM over packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.LSTM(1, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x[:, :, None], torch.full((len(x),), 4), batch_first=True)
        return self.out(self.layer(packed)[1][0][-1])


def convolutional() -> nn.Module:
    """Convolution, batch norm, pooling, over four values as an image."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 3, 2, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3, 1),
    )


MODULES: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: Last(nn.LSTM(4, 5, num_layers=2, dropout=0.1, batch_first=True), 5),
    "bidirectional GRU": lambda: Last(nn.GRU(4, 5, bidirectional=True, batch_first=True), 10),
    "RNN": lambda: Last(nn.RNN(4, 5, batch_first=True), 5),
    "packed LSTM": Packed,
    "MultiheadAttention": lambda: Last(nn.MultiheadAttention(4, 2, batch_first=True), 4),
    "TransformerEncoderLayer": lambda: Last(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 4),
    "convolutions": convolutional,
    "LayerNorm": lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 1)),
    "PReLU": lambda: nn.Sequential(nn.Linear(4, 6), nn.PReLU(), nn.Linear(6, 1)),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.Linear(6, 1)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 1)),
    "in-place activations": lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 1)),
    "float64": lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double(),
}


@OBSERVERS
@pytest.mark.parametrize("kind", MODULES)
def test_modules_of_all_kinds_are_observed_without_a_failure(observer: str, kind: str) -> None:
    torch.manual_seed(0)
    model = MODULES[kind]()
    optimizer = sgd(model, lr=0.01)

    def call(x: torch.Tensor) -> Any:
        return model(x.to(next(model.parameters()).dtype)).float()

    scope = observed(observer, model, optimizer, lambda: train(call, optimizer, 6))
    assert untroubled(scope).watched["steps"] == 6
    assert len(subjects(scope)) == len(list(model.parameters()))


@OBSERVERS
def test_an_evaluation_between_steps_leaves_no_note(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(3):
            model.eval()
            with torch.no_grad():
                model(1e6 * x)
            model.train()
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    history = observed(observer, model, optimizer, loop).histories[0]
    assert history["input"].column("abs_max").max() < 100


@OBSERVERS
def test_a_module_called_with_no_sample_is_no_failure(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(6):
            optimizer.zero_grad()
            (nn.functional.mse_loss(model(x), y) + model(x[:0]).sum()).backward()
            optimizer.step()

    untroubled(observed(observer, model, optimizer, loop))


@OBSERVERS
def test_a_loop_that_never_calls_backward_is_not_called_healthy(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for _ in range(6):
            optimizer.zero_grad()
            model(torch.zeros(2, 4))
            optimizer.step()

    scope = observed(observer, model, optimizer, loop)
    report = untroubled(scope)
    assert (scope.histories[0]["gradient"].column("gradient_norm") == MISSING).all()
    assert report.status != "healthy"
