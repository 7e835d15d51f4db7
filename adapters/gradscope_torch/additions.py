"""Additions: the modules that remedies put into a model, and a loss whose gradient is another than its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Standardize(nn.Module):
    """(input - mean) / deviation."""

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The inputs, standardized."""
        return (inputs - self.mean) / self.deviation


class Rescale(nn.Module):
    """input x deviation + mean: turns standardized predictions back."""

    def __init__(self, mean: float, deviation: float):
        super().__init__()
        self.mean, self.deviation = mean, deviation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The inputs in the unit of the targets."""
        return inputs * self.deviation + self.mean


class Residual(nn.Module):
    """input + inner(input)."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The sum of both paths."""
        return inputs + self.inner(inputs)


class Noise(nn.Module):
    """Adds normal noise of a deviation while it trains."""

    def __init__(self, deviation: float):
        super().__init__()
        self.deviation = deviation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The inputs, with noise in training mode."""
        return inputs + self.deviation * torch.randn_like(inputs) if self.training else inputs


class Crop(nn.Module):
    """Moves each image [N, C, H, W] by up to `padding` pixels while it trains; zeros come in from outside."""

    def __init__(self, padding: int):
        super().__init__()
        self.padding = padding

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The images, moved in training mode."""
        if not self.training:
            return images
        high, wide, most = images.shape[-2], images.shape[-1], 2 * self.padding
        padded = nn.functional.pad(images, (self.padding,) * 4)
        corners = torch.randint(0, most + 1, (len(images), 2)).tolist()
        cut = [one[:, top : top + high, left : left + wide] for one, (top, left) in zip(padded, corners, strict=True)]
        return torch.stack(cut)


class Float32(nn.Module):
    """Floating-point inputs in float32."""

    def forward(self, inputs: Any) -> Any:
        """The inputs, wider."""
        return inputs.float() if isinstance(inputs, torch.Tensor) and inputs.is_floating_point() else inputs


class ScaledBackward(torch.autograd.Function):
    """The value itself; its gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, factor: float) -> torch.Tensor:
        """The value."""
        ctx.factor = factor
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradient times the factor."""
        return gradients[0] * ctx.factor, None


def with_gradient_of(value: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A loss that is worth `value` and has the gradient of `other`."""
    return other + (value - other).detach()
