"""gradscope for MXNet (Gluon, 1.9). gradscope_mxnet.watch is gradscope.watch."""

from gradscope.scope import watch

__all__ = ["watch"]
