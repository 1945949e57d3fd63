"""Time: resampling clips to one rate, and cutting them into windows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["resample", "window_starts"]


def resample(positions: npt.NDArray[np.float32], fps: float, rate: float) -> npt.NDArray[np.float32]:
    """Resample a clip to another frame rate by linear interpolation of the joint positions.

    The new frames lie at 0, 1/rate, 2/rate, ... seconds, up to the last old frame. A joint that swings in an arc is cut
    short between two frames: at 30 to 25 fps bones lose well under a millimetre in ordinary motion.

    Args:
        positions: Joint positions, shape (T, J, 3).
        fps: Frames per second of the clip.
        rate: Frames per second wanted.

    Returns:
        Joint positions, shape (T', J, 3).

    Example:
        >>> clip = np.arange(7, dtype=np.float32).reshape(7, 1, 1).repeat(3, axis=2)
        >>> resample(clip, 30.0, 25.0)[:, 0, 0]
        array([0. , 1.2, 2.4, 3.6, 4.8, 6. ], dtype=float32)
    """
    if fps == rate:
        return positions
    last = len(positions) - 1
    # The tolerance keeps a last frame that rounding would put just behind the clip's end.
    moments = np.arange(int(last * rate / fps + 1e-6) + 1) * (fps / rate)
    before = np.minimum(moments.astype(np.int64), max(last - 1, 0))
    share = (moments - before).astype(np.float32)[:, None, None]
    after = positions[np.minimum(before + 1, last)]
    between: npt.NDArray[np.float32] = positions[before] + share * (after - positions[before])
    return between


def window_starts(length: int, frames: int, step: int, *, centred: bool = False) -> npt.NDArray[np.int64]:
    """First frames of the windows of a clip; frames outside the clip stand for its first or last frame.

    Windows start ``step`` frames apart. Where their steps leave no gap, the last window is moved back to end with the
    clip, so that every frame is covered. A clip shorter than a window gives one window with the clip in its middle.
    Centred windows have a frame of the clip in their middle (index ``frames // 2``), every ``step`` frames.

    Args:
        length: Number of frames of the clip.
        frames: Number of frames T of a window.
        step: Number of frames between the starts of neighbouring windows.
        centred: Whether windows stand around single frames.

    Example:
        >>> window_starts(10, 4, 4).tolist(), window_starts(2, 5, 5).tolist()
        ([0, 4, 6], [-1])
        >>> window_starts(5, 3, 2, centred=True).tolist()
        [-1, 1, 3]
    """
    if centred:
        return np.arange(0, length, step) - frames // 2
    if length < frames:
        return np.array([-((frames - length) // 2)])
    starts = np.arange(0, length - frames + 1, step)
    if step <= frames and starts[-1] != length - frames:
        starts = np.append(starts, length - frames)
    return starts
