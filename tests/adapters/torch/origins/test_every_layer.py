"""Whichever layer of a network the fault is behind, that one is named: the layers of six networks in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradscope
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.adapters.torch.origins.organs import batch
from tests.adapters.torch.origins.planting import origin_of
from tests.adapters.torch.origins.test_networks import IMAGE, Convolutional, Sentences, UNet, words

BUILT: dict[str, Callable[[], tuple[nn.Module, Callable[[nn.Module], Tensor]]]] = {}


def network(build: Any) -> Any:
    """Adds a function that gives a model, and its loss."""
    BUILT[build.__name__] = build
    return build


@network
def unet() -> Any:
    return UNet(1e-5), lambda model: model(batch(0, False, shape=IMAGE)).square().mean()


@network
def convolutions() -> Any:
    return Convolutional(1e-5), lambda model: F.cross_entropy(model(batch(0, False, shape=IMAGE)), torch.arange(8) % 2)


@network
def sentences() -> Any:
    return Sentences(), lambda model: F.cross_entropy(model(words(0, False)), torch.arange(8) % 2)


@network
def bert() -> Any:
    from tests.adapters.torch.origins import test_transformers as tiny

    return tiny.bert(), lambda model: model(input_ids=tiny.ids(0), labels=torch.arange(4) % 2).loss


@network
def gpt2() -> Any:
    from tests.adapters.torch.origins import test_transformers as tiny

    return tiny.gpt2(), lambda model: model(input_ids=tiny.ids(0), labels=tiny.ids(0)).loss


@network
def mixtral() -> Any:
    from tests.adapters.torch.origins import test_transformers as tiny

    return tiny.mixtral(1e-5), lambda model: model(input_ids=tiny.ids(0), labels=tiny.ids(0)).loss


class Forward(nn.Module):
    """Divides zero by zero in one place."""

    def forward(self, x: Any) -> Any:
        zeros = torch.ones_like(x)
        zeros.view(-1)[0] = 0
        return x * zeros / zeros


class Backward(nn.Module):
    """Changes nothing, but the slope of a root at 0."""

    def forward(self, x: Any) -> Any:
        return x + (x - x).abs().sqrt()


class Behind(nn.Module):
    """A layer, and a fault behind it; all else is asked of the layer."""

    def __init__(self, layer: nn.Module, fault: nn.Module) -> None:
        super().__init__()
        self.layer, self.fault = layer, fault

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.fault(self.layer(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


FAULTS = {"forward": (Forward, "div"), "backward": (Backward, "sqrt")}
UNFIT = {"LSTM", "MixtralTopKRouter", "MixtralExperts", "MixtralRotaryEmbedding"}
"""What gives more than one tensor, or nothing that is trained."""
UNCALLED = ("attention.self.dropout", "attn_dropout")
"""Whose rate is read, and which is never called."""
ALIKE = (".layer.0.", ".h.0.", ".layers.0.")
"""The first block of a transformer is left out: the second is its like."""


def layers(model: nn.Module) -> list[str]:
    """The names of what has no parts, and gives one tensor that wants a gradient."""
    taken = []
    for name, module in model.named_modules():
        fit = type(module).__name__ not in UNFIT and not name.endswith(UNCALLED)
        fit = fit and not any(block in name for block in ALIKE)
        if name and not list(module.children()) and fit:
            taken.append(name)
    return taken


def found(build: Any, name: str, phase: str) -> tuple[str, str, str]:
    """(phase, module, op) of the origin of a network with a fault behind that layer, or why there is none."""
    torch.manual_seed(0)
    model, loss = build()
    fault, _ = FAULTS[phase]
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, Behind(model.get_submodule(name), fault()))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with gradscope.watch(model, optimizer) as scope:
        loss(model).backward()
        optimizer.step()
    origin = origin_of(scope)
    return ("", "", "") if origin is None else (origin.phase, origin.module, origin.op)


@pytest.mark.parametrize("phase", FAULTS)
@pytest.mark.parametrize("built", BUILT)
def test_every_layer_is_named_when_the_fault_is_behind_it(built: str, phase: str) -> None:
    if built in {"bert", "gpt2", "mixtral"}:
        pytest.importorskip("transformers")
    build = BUILT[built]
    torch.manual_seed(0)
    names = layers(build()[0])
    told = {name: found(build, name, phase) for name in names}
    wrong = {name: origin for name, origin in told.items() if origin != (phase, f"{name}.fault", FAULTS[phase][1])}
    assert names
    assert wrong == {}
