"""The steps that overhead.py compares on torch: models, and six ways to look at their gradients."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gradscope
import torch
from benchmarks.paired import Step
from torch import nn
from torch.nn import functional

SLOW = frozenset({"tensorboard", "detect_anomaly"})
PAIRS = {"gradscope.watch": "bare", "first cause": "watch without it"}
FIRST_CAUSE = 1.02
"""What the readiness to find a first cause may cost a healthy step, over a watch without it."""
TARGETS = {"mlp": 1.03, "gpt": 1.03, "cnn": 1.03, "tiny": 1.15}
LESS_THAN_BY_HAND = True
SCOPES: list[gradscope.Scope] = []


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        a = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.proj(a)
        return x + self.mlp(self.norm2(x))


class Gpt(nn.Module):
    """Six layers of width 256 over 64 characters."""

    def __init__(self, vocabulary: int = 64, width: int = 256, layers: int = 6, length: int = 64):
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width, 8) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x))).flatten(0, 1)


def mlp() -> tuple[nn.Module, Any, Any]:
    """Twelve layers of 512, batch 128."""
    layers = [m for _ in range(12) for m in (nn.Linear(512, 512), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(512, 10)), torch.randn(128, 512), torch.randint(0, 10, (128,))


def gpt() -> tuple[nn.Module, Any, Any]:
    """A small language model, eight sequences of 64."""
    tokens = torch.randint(0, 64, (8, 65))
    return Gpt(), tokens[:, :-1].contiguous(), tokens[:, 1:].flatten()


def cnn() -> tuple[nn.Module, Any, Any]:
    """Convolutions with batch normalization on 32 images of 32x32."""
    widths = [3, 32, 64, 64, 128]
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(a, b, 3, stride=1 + i % 2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    return model, torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))


def tiny() -> tuple[nn.Module, Any, Any]:
    """Sixty layers of 16: nothing but overhead."""
    layers = [m for _ in range(60) for m in (nn.Linear(16, 16), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(16, 10)), torch.randn(32, 16), torch.randint(0, 10, (32,))


MODELS = {"mlp": mlp, "gpt": gpt, "cnn": cnn, "tiny": tiny}


def variants(model: nn.Module, x: Any, y: Any) -> dict[str, Step]:
    """The steps to compare, each over a model of its own."""

    def step_of(look: Callable[[nn.Module], None] | None = None, around: Any = None, watched: str = "") -> Step:
        own = copy.deepcopy(model)
        optimizer = torch.optim.Adam(own.parameters(), lr=1e-4)
        if watched:
            SCOPES.append(gradscope.watch(own, optimizer, on_nonfinite=watched))

        def step() -> None:
            optimizer.zero_grad()
            loss = functional.cross_entropy(own(x), y)
            loss.backward()
            if look is not None:
                look(own)
            optimizer.step()

        def inside() -> None:
            with around():
                step()

        return inside if around is not None else step

    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(tempfile.mkdtemp())
    counter = iter(range(10**9))

    def histograms(own: nn.Module) -> None:
        now = next(counter)
        for name, p in own.named_parameters():
            writer.add_histogram(name, p.grad, now)

    return {
        "bare": step_of(),
        "gradscope.watch": step_of(watched="report"),
        "watch without it": step_of(watched="ignore"),
        "first cause": step_of(watched="report"),
        "clip_grad_norm_": step_of(lambda own: nn.utils.clip_grad_norm_(own.parameters(), 1e9)),
        "norms by hand": step_of(lambda own: {n: p.grad.norm().item() for n, p in own.named_parameters()}),
        "detect_anomaly": step_of(around=lambda: torch.autograd.detect_anomaly(check_nan=True)),
        "tensorboard": step_of(histograms),
    }


def set_threads(threads: int) -> None:
    """How many threads torch may use."""
    torch.set_num_threads(threads)


def steps(name: str) -> dict[str, Step]:
    """The steps to compare for a model of that name."""
    torch.manual_seed(0)
    return variants(*MODELS[name]())


def close() -> None:
    """Ends what is watched."""
    for scope in SCOPES:
        scope.close()
    SCOPES.clear()
