"""Which functions a bundle may name."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradscope_torch.bundle.functions import functions, name_of
from gradscope_torch.replay.capture import Capture

REACHING = """
    apply_ map_ map2_ numpy tolist item data_ptr const_data_ptr set_ set_data resize_ storage untyped_storage pin_memory
    share_memory_ register_hook backward module_load load register_post_accumulate_grad_hook record_stream retain_grad
    from_file save compile vmap from_numpy frombuffer from_dlpack as_subclass type autocast is_shared grad_fn _base
    __dlpack__ __array__ __deepcopy__ __reduce__ __reduce_ex__ __format__ __setstate__ __cuda_array_interface__
    resize_as_ resize_as_sparse_ sparse_resize_ sparse_resize_and_clear_ eval exec system _cdata
"""
OPERATORS = """
    add radd iadd sub rsub isub mul rmul imul div truediv rtruediv itruediv floordiv rfloordiv ifloordiv mod rmod imod
    pow rpow ipow matmul rmatmul and rand iand or ror ior xor rxor ixor lshift rlshift ilshift rshift rrshift irshift
    eq ne lt le gt ge invert getitem setitem reversed get
"""
PROPERTIES = ("T", "H", "mT", "mH", "real", "imag", "data")


def test_no_name_reaches_files_memory_or_code() -> None:
    reached = {n for n in functions() if set(REACHING.split()) & set(n.split("."))}
    assert not reached


def test_private_names_are_operators_or_properties() -> None:
    shorts = {n.rpartition(".")[2] for n in functions()}
    private = {s for s in shorts if s.startswith("_")}
    assert private <= {f"__{o}__" for o in OPERATORS.split()}
    assert {n for n in functions() if n.endswith("__get__")} <= {f"torch.Tensor.{p}.__get__" for p in PROPERTIES}


def test_every_function_is_one_of_torchs_own() -> None:
    for name, function in functions().items():
        assert name.startswith("torch.")
        assert callable(function)
        assert name_of(function) is not None


def test_what_is_no_function_of_torch_has_no_name() -> None:
    assert name_of(print) is None
    assert name_of(torch.load) is None
    assert name_of([]) is None
    assert name_of(torch.Tensor.numpy) is None


def losses(out: Tensor, y: Tensor, k: Tensor) -> list[Tensor]:
    """What people make losses of."""
    p = out.softmax(-1)
    clone = out.clone()
    clone[0] = 0.5
    clone += 1
    return [
        F.cross_entropy(out, k, label_smoothing=0.1),
        F.nll_loss(F.log_softmax(out, dim=-1), k, ignore_index=-1),
        F.binary_cross_entropy_with_logits(out, y, pos_weight=torch.ones(3)),
        F.kl_div(p.log(), y, reduction="batchmean"),
        nn.SmoothL1Loss()(out, y) + nn.GaussianNLLLoss()(out, y, p),
        nn.CosineEmbeddingLoss()(out, y, k * 2 - 1),
        F.triplet_margin_loss(out, y, y * 2)
        + F.ctc_loss(p.log().unsqueeze(1).expand(6, 1, 3), k[None, :1], (6,), (1,)),
        -torch.log(p.gather(1, k[:, None])).mean() + torch.where(k > 0, out.sum(1), 0.0).mean(),
        (out - y).pow(2).mean().sqrt() + (out - y).abs().max() + 2 ** out.mean() - (3 - out).min() / 2,
        -(y * torch.log(p + 1e-8) + (1 - y) * torch.log1p(-p)).sum(1).mean(),
        torch.einsum("bi,bj->ij", out, out).diagonal().sum()
        + out.T.matmul(out).trace()
        + (out @ out.mT).logdet().exp(),
        torch.linalg.norm(out)
        + torch.norm(out, dim=1).sum()
        + torch.fft.rfft(out).abs().mean()
        + out.std()
        + out.var(0)[1],
        torch.logsumexp(out / 0.1, dim=1).mean(),
        torch.stack(out.unbind(0)).mean(),
        torch.cat([out, y]).mean(),
        F.normalize(out, dim=-1).mul(y).sum().neg() + out.masked_fill(k[:, None] > 0, 0.0).sum(),
        clone.sum(),
        out[:, 0].float().mean()
        + out[..., 1:].reshape(-1).view(-1, 1).squeeze().sum()
        + out.flatten().clamp(min=0).sum(),
        torch.special.expit(out).mean()
        + out.real.sum()
        + out.topk(2).values.sum()
        + out.sort(descending=True)[0].sum(),
        (out > 0).float().mean()
        + out.mean() * torch.exp(-out.mean())
        + (-out).relu().sum()
        + out.to(torch.float64).sum(),
        out.cumsum(0).sum(),
        torch.pdist(out).mean(),
        torch.cdist(out, y).mean(),
        F.one_hot(k, 3).mul(out).sum(),
        out.index_select(0, k).sum(),
        out.scatter_add(0, k[:, None].expand(6, 3), y).sum(),
        out.repeat(2, 1).sum(),
        torch.maximum(out, y).sum()
        + torch.lerp(out, y, 0.5).sum()
        + torch.clamp(out, 0, 1).sum()
        + out.nan_to_num().sum(),
        F.mse_loss(F.interpolate(out[None], 5), torch.zeros(1, 6, 5))
        + F.pad(out, (1, 1)).sum()
        + out.chunk(3, 1)[1].sum(),
    ]


def test_what_people_make_losses_of_can_be_named() -> None:
    capture = Capture({})
    model = nn.Linear(4, 3)
    torch.manual_seed(0)
    x, y, k = torch.rand(6, 4), torch.rand(6, 3), torch.tensor([0, 1, 1, 0, 1, 0])
    capture.enter(model, (x,), {})
    out = model(x)
    capture.leave(model, out)
    total = torch.stack(losses(out, y, k)).sum()
    capture.quiet()
    assert total.requires_grad
    targets: list[Any] = [c.target for c in capture.tape.calls if not c.is_model]
    assert len(targets) > 120
    assert [t for t in targets if name_of(t) is None] == []
