"""Poses of another number of joints than the skeleton's: which built-in skeleton they fit."""

from __future__ import annotations

from collections.abc import Sequence

from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.skeleton.catalogue import BUILT_IN

__all__ = ["which_fit"]

_FEWEST = 8  # joints: a tensor (..., n, 3) of less is a camera, a rotation or a few points


def which_fit(skeleton: Skeleton, shapes: Sequence[tuple[int, ...]]) -> str | None:
    """What to say of a prediction and a truth that have not the joints of the skeleton; None where they are no poses.

    Args:
        skeleton: The skeleton that the poses were expected to have.
        shapes: Shapes of the tensors that met.
    """
    names: dict[int, list[str]] = {}
    for name in BUILT_IN:
        names.setdefault(get_skeleton(name).num_joints, []).append(name)
    for shape in shapes:
        joints = shape[-2] if shape[-1] == 3 else shape[-1] // 3
        flat = shape[-1] != 3
        if joints < _FEWEST or joints == skeleton.num_joints or (flat and (shape[-1] % 3 or joints not in names)):
            continue
        meant = " or ".join(f'`SealConfig(skeleton="{name}")`' for name in names.get(joints, ()))
        hint = (
            f"Did you mean {meant}?" if meant else "Set `SealConfig(skeleton=Skeleton(names, parents, left, right))`."
        )
        return (
            f"Expected poses of the {skeleton.num_joints} joints of `skeleton`, but the loss compares a prediction and "
            f"a truth {shape}, which have {joints}. {hint} Override `seal_batch(self, batch, inputs, output)` where "
            "those of the skeleton are among them: `return SealBatch(keypoints_2d, prediction, target, joints=[...])`."
        )
    return None
