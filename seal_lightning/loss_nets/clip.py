"""A loss-net that sees clips: the structure of every frame, and how it moves."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from seal_lightning._values import check_counts
from seal_lightning.loss_nets.base import EnergyHead, LossNet
from seal_lightning.loss_nets.structure import StructureFeatures
from seal_lightning.skeleton import Skeleton

__all__ = ["ClipLossNet"]

# Root mean squares of a coordinate of bones in motion capture at 25 frames per second, in mean bone lengths per frame:
# velocities 0.026, accelerations 0.011. Lengths spread by 2 % within a clip. Predictions shake more.
_STRETCH_SCALE, _VELOCITY_SCALE, _ACCELERATION_SCALE = 10.0, 20.0, 30.0


class ClipLossNet(LossNet):
    r"""Temporal convolutions over what every frame shows of the bones and of their motion: one energy per frame.

    To the input of `StructureLossNet` it adds, for every bone :math:`b_t` of frame `t`: its log length against the
    clip's mean, :math:`\log |b_t| - \mathrm{mean}_s \log |b_s|`, its velocity :math:`b_t - b_{t-1}`, and its
    acceleration :math:`b_{t+1} - 2 b_t + b_{t-1}`. A linear layer and convolutions over three frames each follow, so
    the energy of a frame depends on those near it, and through the mean lengths on all. What is not seen counts as
    zero, and so does a velocity or an acceleration that needs a frame before the first or behind the last.

    Velocities are per frame: keep to the frame rate that the net was trained at. They are those of bones, so it does
    not see where the root goes.

    It needs a model that predicts clips ``(B, T, J, 3)``. Negatives that damage each frame for itself, all but
    `PredictionNegatives`, show it motion that no pose-net makes.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.
        hidden: Width of the hidden layers.
        depth: Number of convolutions; each lets a frame see one more on either side.

    Raises:
        ValueError: If a size is not positive.

    Example:
        A body that stands still and one that jumps to and fro differ in energy, though their poses are the same:

        >>> net = ClipLossNet("h36m17", hidden=8)
        >>> one, other = torch.randn(2, 1, 17, 3)
        >>> keypoints_2d, clip = torch.zeros(1, 4, 17, 2), torch.stack([one, one, other, other], dim=1)
        >>> net(keypoints_2d, clip).shape
        torch.Size([1, 4])
        >>> torch.equal(net(keypoints_2d, clip), net(keypoints_2d, clip[:, [0, 2, 1, 3]]))
        False
    """

    sees_clips: ClassVar[bool] = True

    def __init__(self, skeleton: str | Skeleton, hidden: int = 128, depth: int = 2) -> None:
        super().__init__(skeleton)
        check_counts(hidden=hidden, depth=depth)
        self.features = StructureFeatures(self.skeleton)
        self.embed = nn.Linear(self.features.size + 7 * len(self.skeleton.bones), hidden)
        self.layers = nn.ModuleList(nn.Conv1d(hidden, hidden, 3, padding=1) for _ in range(depth))
        self.activation = nn.SiLU()
        self.head = EnergyHead(hidden, norm=False)  # a bounded energy is flat where a clip is far from true

    def forward(self, keypoints_2d: Tensor, pose: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return one energy per frame.

        Args:
            keypoints_2d: Keypoints ``(..., T, J, 2)`` or ``(..., T, J, 3)``.
            pose: Poses ``(..., T, J, 3)``.
            seen: 1 for a joint that is seen, else 0, ``(..., T, J)``; None where all are.

        Returns:
            Energies ``(..., T)``.

        Raises:
            ValueError: If there are no two frames, or the shapes do not fit each other or the skeleton.
        """
        keypoints_2d, flat, leading = self.flatten(keypoints_2d, pose)
        if len(leading) < 2 or leading[-1] < 2:
            raise ValueError(
                f"Expected `pose` to be clips (..., T, J, 3) of at least two frames, but got {tuple(pose.shape)}."
            )
        features, bones, squares = self.features(keypoints_2d, flat)
        logs = squares / 2
        shape = leading[:-1].numel(), leading[-1]
        bones, logs = bones.view(*shape, *bones.shape[1:]), logs.view(*shape, *logs.shape[1:])
        if seen is None:
            parts = features, _motion(bones, logs, torch.ones_like(logs[:1, :, :1])).flatten(0, 1)
            here = None
        else:
            known, both = self.features.known(seen.to(flat).flatten(0, -2))
            parts = features * known, _motion(bones, logs, both.view(logs.shape)).flatten(0, 1)
            here = seen.to(flat).flatten(0, -3).amax(-1)[:, None]  # (B, 1, T), 0 for a frame that shows nothing
        embedded: Tensor = self.activation(self.embed(torch.cat(parts, dim=-1)))
        hidden = embedded.view(*shape, self.embed.out_features).transpose(1, 2)
        for layer in self.layers:
            # A frame that shows nothing is to its neighbours what the end of the clip is.
            hidden = self.activation(layer(hidden if here is None else hidden * here))
        energy: Tensor = self.head(hidden.transpose(1, 2).flatten(0, 1))
        return energy.reshape(leading)


def _motion(bones: Tensor, logs: Tensor, known: Tensor) -> Tensor:
    """What tells a clip from its frames (B, T, 7 K), given bones (B, T, K, 3), log lengths and what is known (B, T, K).

    Log lengths against the clip's mean, velocities, accelerations; zero where one of the frames needed is not known.
    """
    mean = (logs * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    stretch = _STRETCH_SCALE * (logs - mean) * known
    steps, steady = bones[:, 1:] - bones[:, :-1], known[:, 1:] * known[:, :-1]
    turns, curved = steps[:, 1:] - steps[:, :-1], steady[:, 1:] * steady[:, :-1]
    velocity = _VELOCITY_SCALE * pad(steps * steady[..., None], (0, 0, 0, 0, 1, 0))
    acceleration = _ACCELERATION_SCALE * pad(turns * curved[..., None], (0, 0, 0, 0, 1, 1))
    return torch.cat([stretch, velocity.flatten(2), acceleration.flatten(2)], dim=-1)
