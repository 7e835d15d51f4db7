"""Models, data and workloads that the remedies are tried on, and how they are trained here."""

from collections.abc import Callable
from typing import Any

import torch
from gradscope.scope import Scope
from gradscope.settings import Settings
from gradscope.workload import Workload
from torch import nn
from torch.nn import functional as F

from gradscope_torch.plugin import TorchAdapter

ADAPTER = TorchAdapter()


def regression(*, features: int = 8, batches: int = 10, size: int = 32, seed: int = 0) -> list[Any]:
    """Batches of standard normal inputs and a linear map of them, shape (size, 1)."""
    random = torch.Generator().manual_seed(seed)
    line = torch.randn(features, 1, generator=random) / features**0.5
    given = [torch.randn(size, features, generator=random) for _ in range(batches)]
    return [(x, x @ line) for x in given]


def classes(count: int = 2, *, seed: int = 0) -> list[Any]:
    """Batches of standard normal inputs and the class that is largest in a linear map of them."""
    random = torch.Generator().manual_seed(seed)
    line = torch.randn(8, count, generator=random)
    given = [torch.randn(32, 8, generator=random) for _ in range(10)]
    return [(x, (x @ line).argmax(1)) for x in given]


def as_columns(batches: list[Any]) -> list[Any]:
    """Classes 0 and 1 as numbers of shape (size, 1)."""
    return [(x, y[:, None].float()) for x, y in batches]


def perceptron(*hidden: int, activation: type = nn.ReLU, output: type | None = None, units: int = 1) -> nn.Module:
    """Dense layers with an activation each but the last."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    before = 8
    for width in hidden:
        layers += [nn.Linear(before, width), activation()]
        before = width
    layers.append(nn.Linear(before, units))
    if output is not None:
        layers.append(output(1) if output in {nn.Softmax, nn.LogSoftmax} else output())
    return nn.Sequential(*layers)


class Functional(nn.Module):
    """Two dense layers whose activations are calls; the last one too when that is asked for."""

    def __init__(self, *, closing: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.closing = nn.Linear(8, 16), nn.Linear(16, 1), closing

    def forward(self, x):
        y = self.second(torch.relu(self.first(x)))
        return torch.sigmoid(y) if self.closing else y


class Hidden(nn.Module):
    """A layer in a plain list, which no optimizer sees."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.last = [nn.Linear(8, 16), nn.ReLU()], nn.Linear(16, 1)

    def forward(self, x):
        for layer in self.inner:
            x = layer(x)
        return self.last(x)


class Images(nn.Module):
    """A convolution over images of 8 x 8."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))

    def forward(self, x):
        return self.layers(x)


class Sequence(nn.Module):
    """A recurrent layer over five steps."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.last = nn.GRU(8, 6, batch_first=True), nn.Linear(6, 1)

    def forward(self, x):
        return self.last(self.rnn(x[:, None, :].repeat(1, 5, 1))[0][:, -1])


def sgd(rate: float = 0.05, **more: Any) -> Callable[[Any], Any]:
    """A maker of gradient descent."""
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **more)


def lacking(parameters: Any) -> Any:
    """Gradient descent that holds but the last two parameters."""
    return torch.optim.SGD(list(parameters)[-2:], lr=0.05)


def workload(model: Any = None, batches: Any = None, loss: Any = F.mse_loss, **more: Any) -> Workload:
    """A regression by a perceptron, but for what is given."""
    chosen = perceptron(16, 16) if model is None else model
    return Workload(chosen, loss, regression() if batches is None else batches, **({"optimizer": sgd()} | more))


def images() -> list[Any]:
    """Batches of images and the mean of their left half."""
    random = torch.Generator().manual_seed(3)
    given = [torch.randn(16, 1, 8, 8, generator=random) for _ in range(5)]
    return [(x, x[..., :4].mean((1, 2, 3))[:, None]) for x in given]


def run(given: Workload, steps: int = 60, seed: int = 0) -> tuple[float, Any]:
    """(loss afterwards, model) of a training that starts from a seed."""
    ready = ADAPTER.fresh(given, seed)
    ADAPTER.train(Scope(Settings(steps=steps)), ready)
    return ADAPTER.evaluate(ready).loss, ready.model


def model_of(given: Workload, seed: int = 0) -> nn.Module:
    """The fresh model of a workload."""
    return ADAPTER.fresh(given, seed).model


def half(batches: list[Any]) -> list[Any]:
    """Batches in bfloat16."""
    return [(x.bfloat16(), y.bfloat16()) for x, y in batches]


def plain(output: Any, target: Any) -> Any:
    """A squared error by hand, which broadcasts without a word."""
    return (output - target).square().mean()


def poisoned() -> list[Any]:
    """A regression one of whose samples is NaN."""
    batches = regression()
    batches[3][0][5, 2] = torch.nan
    return batches


def state(model: nn.Module) -> dict[str, Any]:
    """Everything that a model holds."""
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether both hold the same, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def kinds(model: nn.Module) -> list[str]:
    """The types of the modules without children, in order."""
    return [type(m).__name__ for m in model.modules() if not any(m.children())]
