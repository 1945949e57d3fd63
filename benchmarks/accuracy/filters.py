"""Filters over time for finished predictions: One-Euro, Kalman, and a small network that has learned to smooth."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from seal_lightning.functional import acceleration_error, mpjpe

__all__ = ["LearnedFilter", "kalman", "one_euro"]


def one_euro(clip: Tensor, cutoff: float, beta: float, rate: float) -> Tensor:
    """Filter clips (..., T, J, 3) with a low-pass whose cutoff rises with the speed of a joint.

    Args:
        clip: The clips, in metres.
        cutoff: Cutoff frequency at rest, in Hz.
        beta: How many Hz the cutoff rises per metre per second.
        rate: Frames per second.

    Reference:
        Casiez et al., "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
        CHI 2012. The speed is itself filtered at 1 Hz.
    """
    frames = clip.unbind(-3)
    value, speed = frames[0], torch.zeros_like(frames[0])
    filtered = [value]
    for before, frame in pairwise(frames):
        speed = speed + _share(torch.ones(()), rate) * ((frame - before) * rate - speed)
        share = _share(cutoff + beta * speed.norm(dim=-1, keepdim=True), rate)
        value = value + share * (frame - value)
        filtered.append(value)
    return torch.stack(filtered, dim=-3)


def _share(cutoff: Tensor, rate: float) -> Tensor:
    """What a new value counts in an exponential filter with a cutoff frequency."""
    step = 2 * math.pi * cutoff / rate
    return step / (step + 1)


def kalman(clip: Tensor, stiffness: float, causal: bool = False) -> Tensor:
    r"""Filter clips (..., T, J, 3) by the Kalman smoother of a joint whose velocity walks at random.

    Given all frames, the most probable path of that model is the minimum of

    .. math:: \sum_t |y_t - x_t|^2 + \lambda \sum_t |y_{t+1} - 2 y_t + y_{t-1}|^2

    when nothing is known of where it begins. One matrix thus filters every coordinate.

    Args:
        clip: The clips.
        stiffness: :math:`\lambda`, the variance of an observation over that of a step of the velocity.
        causal: Whether a frame is given itself and those before it alone, as by the Kalman filter.

    Reference:
        Rauch, Tung and Striebel, "Maximum likelihood estimates of linear dynamic systems", AIAA Journal, 1965.
    """
    frames = clip.shape[-3]
    if causal:
        rows = [_smoother(seen, stiffness)[-1] for seen in range(1, frames + 1)]
        matrix = torch.stack([pad(row, (0, frames - len(row))) for row in rows])
    else:
        matrix = _smoother(frames, stiffness)
    return torch.einsum("st,...tjc->...sjc", matrix.to(clip), clip)


def _smoother(frames: int, stiffness: float) -> Tensor:
    bends = torch.eye(frames, dtype=torch.float64).diff(n=2, dim=0)
    return torch.linalg.inv(torch.eye(frames, dtype=torch.float64) + stiffness * bends.mT @ bends)


class LearnedFilter(nn.Module):
    """A small network that is slid over time, and corrects a coordinate by what it is in the frames around.

    One network serves all joints and coordinates: it can learn how predictions shake, and nothing of poses.

    Args:
        reach: Frames on either side that it is shown, or twice as many before where it is causal.
        causal: Whether it is shown no later frame.
        hidden: Width of its two hidden layers.

    Reference:
        Zeng et al., "SmoothNet: A Plug-and-Play Network for Refining Human Poses in Videos", ECCV 2022, which is larger
        and corrects a window at a time.
    """

    def __init__(self, reach: int = 12, causal: bool = False, hidden: int = 64) -> None:
        super().__init__()
        self.margins = (2 * reach, 0) if causal else (reach, reach)
        self.net = nn.Sequential(
            *(nn.Linear(2 * reach + 1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1))
        )

    def forward(self, clip: Tensor) -> Tensor:
        """Filter clips (..., T, J, 3), in metres."""
        rows = clip.movedim(-3, -1)
        longer = pad(rows.flatten(0, -2)[:, None], self.margins, mode="replicate")[:, 0]
        around = longer.unfold(-1, sum(self.margins) + 1, 1) - rows.flatten(0, -2)[..., None]
        moved = self.net(10 * around)[..., 0] / 10  # a coordinate moves some centimetres within the reach
        return clip + moved.view(rows.shape).movedim(-1, -3)

    def fit(self, prediction: Tensor, target: Tensor, steps: int, batch_size: int = 8, seed: int = 0) -> None:
        """Learn to bring predictions (W, T, J, 3) closer to the truth.

        What is minimised are the logarithms of MPJPE and of the acceleration error, so that a percent of one counts as
        much as a percent of the other.
        """
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            chosen = torch.randint(len(prediction), (batch_size,), generator=generator)
            filtered, true = self(prediction[chosen]), target[chosen]
            loss = mpjpe(filtered, true).log() + acceleration_error(filtered, true).log()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
