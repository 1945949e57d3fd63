"""How tall a recorded body is and which way up it stands: what a wrong unit or a wrong axis shows itself by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats.motion import Motion
from seal_lightning.skeleton import Skeleton

__all__ = ["check_stature", "check_upright", "head_over_ankles", "stature"]

# From children who have just learnt to walk to the tallest adults; adults whose unit is taken too small are below.
_STATURE_MM = (750.0, 2500.0)
# Thickness of the layer that lying people stay in, on the floor or on a bed, and how far below the floor it may begin.
_LAYER_MM, _BELOW_MM = 800.0, 100.0


def stature(motion: Motion) -> float | None:
    """Millimetres from the ankles to the head along the bones, about the stature in any pose.

    None where the joints do not say by their names which these are.
    """
    if (ends := _ends(motion.skeleton)) is None:
        return None
    head, ankles = ends
    return float(np.mean([_along_bones(motion, head, ankle) for ankle in ankles]))


def head_over_ankles(motions: Sequence[Motion]) -> npt.NDArray[np.float64] | None:
    """Vector in millimetres from the middle of the ankles to the head, the mean over all frames of all motions."""
    if any(_ends(motion.skeleton) is None for motion in motions):
        return None
    mean: npt.NDArray[np.float64] = np.concatenate([_vectors(motion) for motion in motions]).mean(axis=0)
    return mean


def check_stature(motion: Motion) -> None:
    """Raise where the body is too small along the bones, or the head too far from the ankles, for a person.

    Raises:
        ValueError: If so: the unit must be another.
    """
    tall = stature(motion)
    if tall is None:
        return
    # The length along the bones stays the same in a crouch; the straight distance does not grow where joints jitter.
    reach = float(np.quantile(np.linalg.norm(_vectors(motion), axis=-1), 0.9))
    if tall < _STATURE_MM[0] or reach > _STATURE_MM[1]:
        raise ValueError(
            f"Expected people of {_STATURE_MM[0] / 1000:g} to {_STATURE_MM[1] / 1000:g} m, but got "
            f"{(tall if tall < _STATURE_MM[0] else reach) / 1000:.3g} m from ankle to head: is `unit` the file's own?"
        )


def check_upright(motions: Sequence[Motion]) -> None:
    """Raise where heads are on average below the ankles, or beside them although the people do not lie.

    Crouching passes, since heads stay above the ankles, and so do somersaults among other motions. Bodies that are
    stretched out along x or y are taken to lie if everything recorded stays in one layer above the floor, and else to
    stand along a wrong axis.

    Raises:
        ValueError: If so: another axis must be up.
    """
    vector = head_over_ankles(motions)
    if vector is None:
        return
    tall = float(np.mean([stature(motion) or 0.0 for motion in motions]))
    along = int(np.abs(vector).argmax())
    if abs(vector[along]) < tall / 2 or (along == 2 and vector[2] > 0):
        return
    heights = np.concatenate([motion.positions[..., 2].ravel() for motion in motions])
    low, high = np.quantile(heights, (0.01, 0.99))
    if along == 2 or low < -_BELOW_MM or high - low > _LAYER_MM or high > 2 * _LAYER_MM:
        side = "-" if vector[along] < 0 else ""
        raise ValueError(
            f"Expected heads above ankles with the axis `up`, but on average they are {vector[2] / 1000:.2f} m "
            f"above them, and {vector[along] / 1000:.2f} m along {side}{'xyz'[along]} of the converted file: is `up` "
            "another axis of 'y', 'z' and '-y'?"
        )


def _ends(skeleton: Skeleton) -> tuple[int, list[int]] | None:
    """Head and ankles by name; the ankle of many rigs is called foot."""
    names = [name.lower() for name in skeleton.names]
    head = next((joint for joint, name in enumerate(names) if "head" in name), None)
    for part in ("ankle", "foot"):
        ankles = [joint for joint, name in enumerate(names) if part in name][:2]
        if len(ankles) == 2 and head is not None:
            return head, ankles
    return None


def _vectors(motion: Motion) -> npt.NDArray[np.float64]:
    head, ankles = _ends(motion.skeleton) or (0, [0])
    vectors: npt.NDArray[np.float64] = motion.positions[:, head] - motion.positions[:, ankles].mean(axis=1, dtype=float)
    return vectors


def _along_bones(motion: Motion, one: int, other: int) -> float:
    parents = motion.skeleton.parents
    bones: set[int] = set()
    for joint in (one, other):
        # Where the ways of both joints to the root have met, every bone is passed twice, which takes it out again.
        while parents[joint] >= 0:
            bones ^= {joint}
            joint = parents[joint]
    lengths = [motion.positions[:, joint] - motion.positions[:, parents[joint]] for joint in bones]
    return float(sum(np.median(np.linalg.norm(bone, axis=-1)) for bone in lengths))
