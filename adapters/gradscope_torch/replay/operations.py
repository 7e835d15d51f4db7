"""The names of operations as people write them, from those of torch's dispatcher and of autograd's nodes."""

from __future__ import annotations

import re

import torch

WRITTEN = {
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "_scaled_dot_product_flash_attention_for_cpu": "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention": "scaled_dot_product_attention",
    "_scaled_dot_product_efficient_attention": "scaled_dot_product_attention",
    "_scaled_dot_product_cudnn_attention": "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math": "scaled_dot_product_attention",
    "_safe_softmax": "softmax",
    "addmm": "matmul",
    "addbmm": "matmul",
    "baddbmm": "matmul",
    "bmm": "matmul",
    "mm": "matmul",
    "mv": "matmul",
    "dot": "matmul",
    "convolution": "conv",
    "_convolution": "conv",
    "convolution_overrideable": "conv",
    "mkldnn_convolution": "conv",
    "native_layer_norm": "layer_norm",
    "native_batch_norm": "batch_norm",
    "_native_batch_norm_legit": "batch_norm",
    "_batch_norm_with_update": "batch_norm",
    "cudnn_batch_norm": "batch_norm",
    "native_group_norm": "group_norm",
    "_fused_rms_norm": "rms_norm",
    "native_dropout": "dropout",
    "nll_loss_forward": "nll_loss",
    "nll_loss2d_forward": "nll_loss",
    "nll_loss2d": "nll_loss",
    "linalg_vector_norm": "norm",
    "linalg_norm": "norm",
    "frobenius_norm": "norm",
    "reciprocal": "div",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "rsub": "sub",
    "exponential": "exp",
    "_to_copy": "to",
    "to_copy": "to",
    "_embedding_bag": "embedding_bag",
    "mkldnn_rnn_layer": "lstm",
    "_thnn_fused_lstm_cell": "lstm",
    "_cudnn_rnn": "lstm",
}
CRITERIA = (torch.nn.modules.loss._Loss,)
"""Modules that are no layers, wherever they are called."""
LINEAR = (torch.nn.Linear, torch.nn.Bilinear)
UNWRITTEN = frozenset(
    {
        "lift_fresh",
        "lift_fresh_copy",
        "empty",
        "empty_like",
        "new_empty",
        "empty_strided",
        "new_empty_strided",
        "empty_permuted",
    }
)
STEEP = frozenset(
    [
        "sqrt",
        "rsqrt",
        "log",
        "log2",
        "log10",
        "log1p",
        "div",
        "reciprocal",
        "pow",
        "norm",
        "linalg_vector_norm",
        "std",
        "var",
        "acos",
        "asin",
        "acosh",
        "atanh",
        "atan2",
        "prod",
        "cumprod",
        "native_layer_norm",
        "native_batch_norm",
        "_native_batch_norm_legit",
        "native_group_norm",
        "_fused_rms_norm",
        "logit",
        "erfinv",
        "linalg_eigh",
        "linalg_svd",
        "linalg_inv_ex",
    ]
)
"""Operations whose slope is infinite somewhere: what they were given is held until the replay ends."""
OPAQUE = frozenset(
    [
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "bmm",
        "convolution",
        "dot",
        "exp",
        "huber_loss",
        "kl_div",
        "linalg_vector_norm",
        "mean",
        "mkldnn_rnn_layer",
        "mm",
        "mse_loss",
        "mv",
        "native_batch_norm",
        "native_group_norm",
        "native_layer_norm",
        "nll_loss2d_forward",
        "nll_loss_forward",
        "norm",
        "pow",
        "prod",
        "smooth_l1_loss",
        "std",
        "sum",
        "var",
    ]
)
"""Operations that no infinite mask is meant for."""
SCALING = frozenset(
    [
        "abs",
        "div",
        "log",
        "log1p",
        "mul",
        "neg",
        "reciprocal",
        "rsub",
        "sigmoid",
        "sign",
        "sqrt",
        "square",
        "sub",
        "tanh",
    ]
)
"""Operations that prepare data: masks are added to scores instead."""
ADDING = frozenset({"addmm", "addbmm", "baddbmm", "addmv"})
"""Products that are added to their first argument."""
LOSSES = frozenset(
    {
        "nll_loss_forward",
        "nll_loss2d_forward",
        "mse_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "smooth_l1_loss",
        "huber_loss",
        "kl_div",
        "soft_margin_loss",
        "multi_margin_loss",
        "multilabel_margin_loss_forward",
        "_ctc_loss",
    }
)
"""Operations that are a loss, wherever they are called."""


def written(op: str, module: torch.nn.Module | None = None) -> str:
    """The name of a dispatcher's operation as people know it; of a matrix product inside of nn.Linear, "linear"."""
    if isinstance(module, torch.nn.RNNBase):
        return module.mode.lower().partition("_")[0]
    name = op.removesuffix("_") if not op.endswith("__") else op
    name = WRITTEN.get(name, name.lstrip("_"))
    if name == "matmul" and isinstance(module, LINEAR):
        return "linear"
    if name == "conv":
        return conv(module)
    return name


def conv(module: torch.nn.Module | None) -> str:
    """conv2d, conv_transpose1d ...; conv where no module tells."""
    if not isinstance(module, torch.nn.modules.conv._ConvNd):
        return "conv"
    return type(module).__name__.lower().replace("transpose", "_transpose").removeprefix("lazy")


def differentiated(node: str, module: torch.nn.Module | None = None) -> str:
    """The operation whose gradient a node computes: "SqrtBackward0" is sqrt's. A function of the user's own keeps its
    name."""
    found = re.fullmatch(r"(\w+?)Backward(\d*)", node)
    if found is None:
        return node
    if not found[2]:
        return found[1]  # torch numbers its own nodes, and no others
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", found[1]).lower()
    return written("_" + snake if "_" + snake in WRITTEN else snake, module)
