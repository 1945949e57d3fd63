"""Whether what is taken for a window of frames are the views of several cameras."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["why_views"]

# From one frame to the next, joints move by so many times the size of the body in the image. In motion capture of one
# frame a second it is 0.9, between cameras that stand 72 degrees apart 1.5, between unrelated frames 1.4.
_UNRELATED_FRAMES = 1.0
# Of what moves between two frames, so much is a turn that all samples share. In motion capture it is below 0.4, and
# once 0.6 in eight windows in a row; between cameras 3 degrees apart and more 0.87 to 0.99. Where detectors are off by
# 3 % of the body's size, it is 0.68 and more between cameras 15 degrees apart, and 0.4 and more 7 degrees apart.
_SAME_TURN = 0.65
_ENOUGH = 8  # samples; of fewer, a person who turns cannot be told from a camera that does


def why_views(window: Tensor, truth: Tensor | None) -> str | None:
    """Why keypoints look like the views of several cameras; None where they do not.

    Args:
        window: Keypoints ``(B, T, J, 2)``, the centre frame being that of the truth.
        truth: True poses ``(B, J, 3)`` of samples all of whose joints are seen.
    """
    centred = window - window.mean(2, keepdim=True)
    size = centred.norm(dim=-1).mean(-1)[:, 1:]
    moved = float(((window[:, 1:] - window[:, :-1]).norm(dim=-1).mean(-1) / size).nanmedian())
    if moved > _UNRELATED_FRAMES:
        return f"from one to the next joints move by {moved:.1f} times the size of the body"
    if truth is not None and len(truth) >= _ENOUGH and len(truth) == len(window) and _turned(centred, truth):
        return "each shows all poses turned by the same angle"
    return None


def _turned(centred: Tensor, truth: Tensor) -> bool:
    """Whether the way from the centre frame to each other one is one linear function of the poses.

    The body of a moving person changes from frame to frame, each in its own way, and no one turn explains that. What is
    not linear, as perspective is not, two cameras that are near each other have in common.
    """
    joints = (truth - truth.mean(1, keepdim=True)).reshape(-1, 3)
    inverse = torch.linalg.pinv(joints)
    centre, shares = centred.shape[1] // 2, []
    for frame in range(centred.shape[1]):
        if frame != centre:
            moved = (centred[:, frame] - centred[:, centre]).reshape(-1, 2)
            shares.append(1 - (moved - joints @ (inverse @ moved)).square().sum() / moved.square().sum())
    return bool(torch.stack(shares).min() > _SAME_TURN)
