"""Time: resampling clips to one rate, and cutting them into windows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seal_lightning._values import check_above_zero

__all__ = ["resample", "window_grid", "window_starts"]


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
    check_above_zero(fps=fps, rate=rate)
    if fps == rate or len(positions) == 0:
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
    """First frames of the windows of a clip; frame numbers outside the clip mean its first or last frame.

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
    count, first, last = window_grid(np.array([length]), frames, step, centred=centred)
    starts: npt.NDArray[np.int64] = np.minimum(first + step * np.arange(count[0]), last)
    return starts


def window_grid(
    length: npt.NDArray[np.int64], frames: int, step: int, *, centred: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Windows of many clips at once: window k of a clip starts at ``min(first + k * step, last)``, as `window_starts`.

    Args:
        length: Number of frames of every clip, shape (C,).
        frames: Number of frames T of a window.
        step: Number of frames between the starts of neighbouring windows.
        centred: Whether windows stand around single frames.

    Returns:
        Number of windows of every clip, ``first``, and ``last``, each of shape (C,).

    Example:
        >>> window_grid(np.array([10, 2]), 4, 4)
        (array([3, 1]), array([ 0, -1]), array([ 6, -1]))
    """
    if centred:
        first = np.full_like(length, -(frames // 2))
        return -(-length // step), first, first + length - 1
    room = length - frames
    count = np.maximum(room, 0) // step + 1
    if step <= frames:
        count += (room > 0) & (room % step > 0)
    # A clip shorter than a window lies in its middle; -room is positive then.
    return count, np.where(room < 0, -(-room // 2), 0), np.where(room < 0, -(-room // 2), room)
