"""What may be done to finished clips: the choices of the study of clips."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

__all__ = ["ALIKE", "BONES", "LIVE", "MODES", "OFFLINE", "Treatment"]


class Treatment(NamedTuple):
    """What is done to finished predictions, in this order."""

    filter: str = "none"
    """"none", "gaussian", "one euro", "kalman" or "learned"."""
    amount: float = 0.0
    """Standard deviation of the Gaussian in frames, stiffness of Kalman's, cutoff of the one-euro filter in Hz."""
    beta: float = 0.0
    """Of the one-euro filter: how many Hz the cutoff rises per metre per second."""
    causal: bool = False
    """Whether the filter sees no later frame."""
    clip_mean: bool = False
    """Whether every bone gets its mean length over the window."""
    alpha: float = 0.0
    """Share of the way that every length moves to its mean over the training data."""
    symmetrise: bool = False

    def __str__(self) -> str:
        name = self.filter + f" {self.amount:g}" * (self.amount > 0) + f"/{self.beta:g}" * (self.beta > 0)
        parts = [name] * (self.filter != "none") + ["clip mean"] * self.clip_mean
        parts += [f"shrink {self.alpha:g}"] * (self.alpha > 0) + ["symmetrise"] * self.symmetrise
        return " + ".join(parts) or "as predicted"


BONES = [Treatment(alpha=alpha, symmetrise=both) for alpha, both in product((0.0, 0.3, 0.7, 1.0), (False, True))]
_CENTRED = [
    Treatment(),
    *(Treatment("gaussian", sigma) for sigma in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)),
    *(Treatment("kalman", stiffness) for stiffness in (10.0, 100.0, 1000.0, 10000.0)),
    Treatment("learned"),
]
_CAUSAL = [
    Treatment(),
    *(Treatment("gaussian", sigma, causal=True) for sigma in (0.5, 1.0, 1.5, 2.0, 3.0)),
    *(Treatment("one euro", *pair, causal=True) for pair in product((0.25, 0.5, 1.0, 2.0), (1.0, 3.0, 10.0))),
    *(Treatment("kalman", stiffness, causal=True) for stiffness in (1.0, 10.0, 100.0, 1000.0)),
    Treatment("learned", causal=True),
]
OFFLINE = tuple(
    first._replace(clip_mean=steady, alpha=bones.alpha, symmetrise=bones.symmetrise)
    for first, steady, bones in product(_CENTRED, (False, True), BONES)
)
"""All that can be done where the whole clip is at hand."""
LIVE = tuple(first._replace(alpha=bones.alpha, symmetrise=bones.symmetrise) for first, bones in product(_CAUSAL, BONES))
"""What needs no frame that comes later."""
ALIKE = ("offline, one for all", "live, one for all")
MODES = {"offline": OFFLINE, "live": LIVE, ALIKE[0]: OFFLINE, ALIKE[1]: LIVE}
"""What may be done: of each what is best for the method itself, or one treatment for all methods with one host."""
