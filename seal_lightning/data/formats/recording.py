"""One clip seen by one camera, as a benchmark records it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.windows import resample

__all__ = ["Recording"]


@dataclass(frozen=True, eq=False)
class Recording:
    """A clip of one person seen by one camera. Its arrays are kept as they are: they may be `numpy.memmap`.

    Args:
        keypoints_2d: Keypoints in the normalised coordinates of `normalize_screen`, and optionally their confidences,
            shape (T, J, 2) or (T, J, 3).
        target: Joint positions in the camera's frame (x right, y down, z away) in millimetres, shape (T, J, 3); None
            where there is no truth.
        group: Name of the group, ``dataset/subject``.
        action: What is done, or where.
        fps: Frames per second; None where they are not evenly spaced, or the rate is not known.
        visibility: Bool (T, J); an invisible joint has neither keypoint nor target. None: all are visible.
        scored: Bool (T,), the frames that count in evaluation. None: all do.

    Raises:
        TypeError: If an array is not of numbers, or a mask not of booleans.
        ValueError: If a shape does not fit, or a visible joint is not finite.

    Example:
        >>> clip = Recording(np.zeros((4, 17, 2)), np.zeros((4, 17, 3)), "mine/anna", "walking", 25.0)
        >>> len(clip), clip.keypoints_2d.shape
        (4, (4, 17, 2))
    """

    keypoints_2d: npt.NDArray[np.floating[Any]]
    target: npt.NDArray[np.floating[Any]] | None
    group: str
    action: str
    fps: float | None = None
    visibility: npt.NDArray[np.bool_] | None = None
    scored: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.keypoints_2d)
        if len(shape) != 3 or shape[-1] not in (2, 3) or 0 in shape:
            raise ValueError(f"Expected `keypoints_2d` to be (T, J, 2) or (T, J, 3) and not empty, but got {shape}.")
        wanted = {"target": (*shape[:2], 3), "visibility": shape[:2], "scored": shape[:1]}
        for field, want in wanted.items():
            if getattr(self, field) is not None and np.shape(getattr(self, field)) != want:
                found = np.shape(getattr(self, field))
                raise ValueError(f"Expected `{field}` to be {want} to go with `keypoints_2d`, but got {found}.")
        for field, kind in (("keypoints_2d", "f"), ("target", "f"), ("visibility", "b"), ("scored", "b")):
            array = getattr(self, field)
            if array is not None and array.dtype.kind != kind:
                what = "floating-point numbers" if kind == "f" else "booleans"
                raise TypeError(f"Expected `{field}` to hold {what}, but got {array.dtype}.")
        if self.fps is not None and not 0.0 < self.fps < np.inf:
            raise ValueError(f"Expected `fps` to be positive, but got {self.fps}.")
        for field in ("keypoints_2d", "target"):
            if getattr(self, field) is not None:
                self._check_finite(field)

    def __len__(self) -> int:
        return len(self.keypoints_2d)

    @property
    def num_joints(self) -> int:
        """Number of joints J."""
        return int(self.keypoints_2d.shape[1])

    def resampled(self, rate: float) -> Recording:
        """The same at another frame rate, by linear interpolation.

        A joint is visible, and a frame scored, where the frames on both sides of the new moment say so.

        Raises:
            ValueError: If the rate so far is not known.
        """
        if rate == self.fps:
            return self
        if (fps := self.fps) is None:
            raise ValueError(
                f"Expected no `rate` for {self.group} {self.action!r}, whose frames per second are not known, but got "
                f"{rate}."
            )

        def mask(values: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
            share = resample(values.reshape(len(self), -1, 1).astype(np.float32), fps, rate)
            return share.reshape(len(share), *values.shape[1:]) > 1.0 - 1e-4

        hidden = None if self.visibility is None else ~self.visibility[..., None]
        moved: dict[str, Any] = {}
        for field in ("keypoints_2d", "target"):
            if (values := getattr(self, field)) is not None:
                values = np.asarray(values, dtype=np.float32)
                moved[field] = resample(values if hidden is None else np.where(hidden, 0.0, values), fps, rate)
        for field in ("visibility", "scored"):
            if getattr(self, field) is not None:
                moved[field] = mask(getattr(self, field))
        return replace(self, fps=rate, **moved)

    def _check_finite(self, field: str) -> None:
        broken = ~np.isfinite(getattr(self, field)).all(axis=-1)
        if self.visibility is not None:
            broken &= self.visibility
        if broken.any():
            frame, joint = np.unravel_index(int(broken.argmax()), broken.shape)
            raise ValueError(
                f"Expected `{field}` to be finite where joints are visible, but {int(broken.sum())} values are NaN or "
                f"infinite, the first at frame {frame}, joint {joint}."
            )
