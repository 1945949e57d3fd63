"""The base class of every loss-net."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from seal_lightning._values import is_number, kind_of
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["EnergyHead", "LossNet"]


class LossNet(nn.Module, ABC):
    r"""A network that assigns an energy to a pose: low for a plausible pose of the keypoints, high otherwise.

    .. math:: E_\theta(x, y) \in \mathbb{R}, \quad x \in \mathbb{R}^{J \times 3},\ y \in \mathbb{R}^{J \times 3}

    To write your own loss-net, implement `forward` and begin it with `flatten`, which checks the shapes and merges the
    leading dimensions into one. A loss-net has to keep three rules: the energy of a pose depends on that pose and its
    keypoints alone (no batch statistics), every parameter contributes to the energy, and nothing in `forward` waits for
    the device (no ``.item()``).

    A loss-net that is to see clips says ``sees_clips = True``. It is then called with whole clips ``(B, T, J, .)``, and
    with a third argument, what is visible in them: ``(B, T, J)``, 1 for a joint that is seen in a frame whose root is
    seen, else 0; None where all are. It returns one energy per frame, ``(B, T)``, or one per clip, ``(B,)``, which then
    counts for every frame of it. The first rule holds for clips: the energies of a clip depend on that clip alone.

    The poses are root-aligned and in units of the mean bone length, so coordinates are of order 1 to 4 whatever the
    unit of the data.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.

    Example:
        A complete loss-net, linear in its input. A missing confidence counts as 1, so 17 confidences and 51 coordinates
        of 1 add up to 68:

        >>> class LinearLossNet(LossNet):
        ...     def __init__(self, skeleton):
        ...         super().__init__(skeleton)
        ...         self.score = nn.Linear(6 * self.skeleton.num_joints, 1, bias=False)
        ...         nn.init.ones_(self.score.weight)
        ...     def forward(self, keypoints_2d, pose):
        ...         keypoints_2d, pose, leading = self.flatten(keypoints_2d, pose)
        ...         features = torch.cat([keypoints_2d, pose], dim=-1)
        ...         return self.score(features.flatten(1)).reshape(leading)
        >>> net = LinearLossNet("h36m17")
        >>> net(torch.zeros(2, 17, 2), torch.ones(2, 17, 3)).tolist()
        [68.0, 68.0]
        >>> net(torch.zeros(4, 9, 17, 3), torch.zeros(4, 9, 17, 3)).shape
        torch.Size([4, 9])

    Reference:
        Lee et al., "Structured Energy Network As a Loss", NeurIPS 2022.
    """

    sees_clips: ClassVar[bool] = False

    def __init__(self, skeleton: str | Skeleton) -> None:
        super().__init__()
        self.skeleton = get_skeleton(skeleton)

    @abstractmethod
    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Return one energy per pose.

        Args:
            keypoints_2d: Normalised image coordinates, shape ``(..., J, 2)``, or ``(..., J, 3)`` with confidences.
            pose: Root-aligned poses in units of the mean bone length, shape ``(..., J, 3)``.

        Returns:
            Energies, shape ``(...)``.
        """

    def flatten(self, keypoints_2d: Tensor, pose: Tensor) -> tuple[Tensor, Tensor, torch.Size]:
        """Check the shapes, merge the leading dimensions into one, and add a confidence of 1 where there is none.

        Args:
            keypoints_2d: Shape ``(..., J, 2)`` or ``(..., J, 3)``.
            pose: Shape ``(..., J, 3)``.

        Returns:
            Keypoints ``(N, J, 3)``, poses ``(N, J, 3)``, and the leading dimensions, to reshape the energies to.

        Raises:
            TypeError: If one of them is not a tensor of real numbers.
            ValueError: If the shapes do not fit each other or the skeleton.
        """
        for name, given in (("keypoints_2d", keypoints_2d), ("pose", pose)):
            if not isinstance(given, Tensor) or given.is_complex() or (given is pose and not pose.is_floating_point()):
                raise TypeError(f"Expected `{name}` to be a tensor of real numbers, but got {kind_of(given)}.")
        joints, leading = self.skeleton.num_joints, pose.shape[:-2]
        if pose.shape[-2:] != (joints, 3):
            raise ValueError(f"Expected `pose` to have shape (..., {joints}, 3), but got {tuple(pose.shape)}.")
        if keypoints_2d.shape[-2:] not in {(joints, 2), (joints, 3)}:
            raise ValueError(
                f"Expected `keypoints_2d` to have shape (..., {joints}, 2) or (..., {joints}, 3), "
                f"but got {tuple(keypoints_2d.shape)}."
            )
        if keypoints_2d.shape[:-2] != leading:
            raise ValueError(
                "Expected `keypoints_2d` and `pose` to have the same leading dimensions, "
                f"but got {tuple(keypoints_2d.shape)} and {tuple(pose.shape)}."
            )
        keypoints_2d = keypoints_2d.reshape(leading.numel(), joints, keypoints_2d.shape[-1])
        if keypoints_2d.shape[-1] == 2:
            keypoints_2d = nn.functional.pad(keypoints_2d, (0, 1), value=1.0)
        return keypoints_2d, pose.reshape(leading.numel(), joints, 3), leading


class EnergyHead(nn.Module):
    """Maps features to energies, in the precision of its parameters even under autocast.

    Only differences of energies matter, and the difference between a pose and its negatives can be far below the
    resolution of bfloat16, which is 0.4 %.

    Args:
        dim: Number of features.
        norm: Whether to normalise the features first, which bounds the energy.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     EnergyHead(8)(torch.zeros(5, 8, dtype=torch.bfloat16)).dtype
        torch.float32
    """

    def __init__(self, dim: int, norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()
        self.weight = nn.Parameter(torch.empty(dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Return one energy, shape ``(N,)``, per row of features ``(N, dim)``."""
        # A product and a sum, because autocast would run a linear layer in bfloat16.
        normed: Tensor = self.norm(features.to(self.weight.dtype))
        return (normed * self.weight).sum(-1) + self.bias


def check_dropout(dropout: float) -> None:
    """Raise a ValueError unless the dropout probability is in [0, 1)."""
    if not is_number(dropout) or not 0.0 <= dropout < 1.0:
        raise ValueError(f"Expected `dropout` to be at least 0 and below 1, but got {dropout!r}.")
