"""What a tensor is made from, as the bits of an integer. Further bits stand for single tensors, calls and meetings."""

from __future__ import annotations

__all__ = ["BATCH", "BY_AXIS", "FIRST_BIT", "MOVED", "NETWORK", "NOISE", "OPAQUE", "RANDOM"]

NETWORK = 1  # parameters, or what a network returned
RANDOM = 2
BATCH = 4
OPAQUE = 8  # something that was not followed: a compiled function, a custom `autograd.Function`
NOISE = 16  # random numbers of its own shape were added, as a diffusion model does: no truth any more
BY_AXIS = 32  # flat, with all x before all y: of the shape of flat poses, but none
MOVED = 64  # of errors: their axes may no longer be those of the poses, as where they are sorted
FIRST_BIT = 128
