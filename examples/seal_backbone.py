"""The backbones with SEAL training, for `fit` and `test`; `compare` makes this class itself."""

from examples.backbones import LitLifter
from seal_lightning import SealMixin

__all__ = ["SealBackbone"]


class SealBackbone(SealMixin, LitLifter):
    """`LitLifter` of the backbones with a learned loss; takes the arguments of `LitLifter` and `seal`."""
