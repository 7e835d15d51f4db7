"""What of MXNet is observed by wrapping: blocks, backward, the two halves of a Trainer's step, clipping, and the
functions that make activations and differences.

Each wrapper calls the original with the same arguments and tells those who listen; with no listener left the originals
are put back, unless somebody else has wrapped them since, in which case ours stays and only passes calls through.
"""

from __future__ import annotations

import sys
from typing import Any

import mxnet
from gradscope.patches import Patches
from mxnet import gluon

from gradscope_mxnet import functions

LISTENERS: list[Any] = []
_patches = Patches()


def listen(listener: Any) -> None:
    """Adds a Recorder; the first one installs the wrappers."""
    if not LISTENERS:
        _install()
    LISTENERS.append(listener)


def unlisten(listener: Any) -> None:
    """Removes a Recorder; with the last one the originals come back."""
    if listener in LISTENERS:
        LISTENERS.remove(listener)
    if not LISTENERS:
        _patches.close()


def _install() -> None:
    _patches.wrap(gluon.Block, "__init__", _made)
    _patches.wrap(gluon.Block, "__call__", _called)
    _patches.wrap(gluon.HybridBlock, "forward", _forward)
    _patches.wrap(gluon.Trainer, "_allreduce_grads", _reduced)
    _patches.wrap(gluon.Trainer, "_update", _updated)
    _patches.wrap(gluon.utils, "clip_global_norm", _clipped)
    _patches.wrap(mxnet.nd.NDArray, "backward", _backward)
    _patches.wrap(mxnet.autograd, "backward", _backward)
    functions.install(_patches, looking)


def looking() -> list[Any]:
    """The listeners that note what the running forward pass shows."""
    active = [one for one in LISTENERS if one.forward.active]
    return active if active and mxnet.autograd.is_recording() else []


def _made(original: Any) -> Any:
    def __init__(block: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it stands for that method
        original(block, *args, **kwargs)
        for listener in LISTENERS:
            listener.made(block, sys._getframe(1))

    return __init__


def _called(original: Any) -> Any:
    def __call__(block: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - it stands for that method
        listeners = looking()
        if not listeners:
            return original(block, *args, **kwargs)
        for listener in listeners:
            listener.enter(block, args)
        output = None
        try:
            output = original(block, *args, **kwargs)
        finally:
            for listener in listeners:
                listener.leave(block, args, output, sys._getframe(1))
        return output

    return __call__


def _forward(original: Any) -> Any:
    """While a listener wants to see into hybridized blocks they run as if they were not."""

    def forward(block: Any, *args: Any, **kwargs: Any) -> Any:
        if not block._active or not any(one.eager for one in LISTENERS) or not looking():
            return original(block, *args, **kwargs)
        block._active = False
        try:
            return original(block, *args, **kwargs)
        finally:
            block._active = True

    return forward


def _backward(original: Any) -> Any:
    def backward(heads: Any, *args: Any, **kwargs: Any) -> Any:
        for listener in LISTENERS:
            listener.backward_begins()
        result = original(heads, *args, **kwargs)
        for listener in LISTENERS:
            listener.backward_ended(heads)
        return result

    return backward


def on_kvstore(trainer: Any) -> bool:
    """Whether gradients are reduced and used in one go, so that the step is over once they are reduced."""
    return bool(trainer._kvstore and trainer._update_on_kvstore)


def _reduced(original: Any) -> Any:
    def _allreduce_grads(trainer: Any) -> Any:
        if on_kvstore(trainer):
            for listener in LISTENERS:
                listener.step_begins(trainer)
        return original(trainer)

    return _allreduce_grads


def _updated(original: Any) -> Any:
    def _update(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        if not on_kvstore(trainer):
            for listener in LISTENERS:
                listener.step_begins(trainer)
        try:
            result = original(trainer, *args, **kwargs)
        except Exception:
            for listener in LISTENERS:
                listener.step_raised(trainer)
            raise
        for listener in LISTENERS[:]:
            listener.step_ended(trainer)
        return result

    return _update


def _clipped(original: Any) -> Any:
    def clip_global_norm(arrays: Any, max_norm: Any, *args: Any, **kwargs: Any) -> Any:
        norm = original(arrays, max_norm, *args, **kwargs)
        for listener in LISTENERS:
            listener.clipped(arrays, norm, max_norm)
        return norm

    return clip_global_norm
