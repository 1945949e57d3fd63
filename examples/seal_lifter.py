"""The plain lifter with SEAL training: the class below is all there is to write."""

from examples.plain_lifter import LitLifter
from seal_lightning import SealMixin

__all__ = ["SealLifter"]


class SealLifter(SealMixin, LitLifter):
    """`LitLifter` with a learned loss; takes the arguments of `LitLifter` and `seal`."""
