"""Resampling and windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seal_lightning.data import resample, window_starts
from seal_lightning.data.windows import window_grid


def test_resampling_of_uniform_motion_is_exact():
    old, speed = np.arange(31) / 30.0, np.array([[[300.0, -120.0, 60.0]]])
    clip = (speed * old[:, None, None]).astype(np.float32)
    new = resample(clip, 30.0, 25.0)
    assert new.shape == (26, 1, 3)
    assert new.dtype == np.float32
    np.testing.assert_allclose(new, speed * (np.arange(26) / 25.0)[:, None, None], atol=1e-4)


def test_resampling_of_a_swing_is_within_the_bound_of_linear_interpolation():
    frequency, reach = 1.5, 400.0
    path = lambda t: (reach * np.sin(2 * np.pi * frequency * t))[:, None, None].repeat(3, axis=2)  # noqa: E731
    new = resample(path(np.arange(90) / 30.0).astype(np.float32), 30.0, 25.0)
    error = np.abs(new - path(np.arange(len(new)) / 25.0)).max()
    bound = (1 / 30) ** 2 / 8 * reach * (2 * np.pi * frequency) ** 2
    assert 0.5 * bound < error < 1.01 * bound


@pytest.mark.parametrize(
    ("fps", "rate", "frames"), [(30.0, 25.0, 13), (25.0, 25.0, 7), (25.0, 50.0, 9), (120.0, 25.0, 3)]
)
def test_last_frame_is_never_passed(fps, rate, frames):
    clip = np.arange(frames, dtype=np.float32)[:, None, None]
    new = resample(clip, fps, rate)[:, 0, 0]
    np.testing.assert_allclose(new, np.arange(len(new)) * fps / rate, rtol=1e-6)
    assert new[-1] <= frames - 1 + 1e-5
    assert new[-1] + fps / rate > frames - 1 + 1e-6


def test_single_frame_clip():
    clip = np.ones((1, 17, 3), dtype=np.float32)
    np.testing.assert_array_equal(resample(clip, 30.0, 25.0), clip)


@given(length=st.integers(1, 60), frames=st.integers(1, 30), data=st.data())
@settings(max_examples=200)
def test_windows_cover_every_frame(length, frames, data):
    step = data.draw(st.integers(1, frames))
    starts = window_starts(length, frames, step)
    covered = {frame for start in starts for frame in range(start, start + frames)}
    assert covered.issuperset(range(length))
    assert len(set(starts.tolist())) == len(starts)
    if length >= frames:
        assert starts[0] == 0
        assert starts[-1] == length - frames
        assert (np.diff(starts) <= step).all()
    else:
        assert len(starts) == 1
        before, after = -starts[0], starts[0] + frames - length
        assert 0 <= after - before <= 1


def test_steps_wider_than_a_window_leave_frames_out():
    assert window_starts(10, 1, 4).tolist() == [0, 4, 8]
    assert window_starts(10, 2, 5).tolist() == [0, 5]


@pytest.mark.parametrize("frames", [3, 4, 9])
def test_centred_windows_have_every_frame_in_the_middle(frames):
    assert (window_starts(6, frames, 1, centred=True) + frames // 2).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("centred", [False, True])
def test_the_grid_of_many_clips_is_that_of_each(centred):
    lengths = np.arange(1, 40)
    for frames in (1, 2, 5, 9, 27):
        for step in (1, 2, 4, 9, 30):
            count, first, last = window_grid(lengths, frames, step, centred=centred)
            for i, length in enumerate(lengths.tolist()):
                starts = np.minimum(first[i] + step * np.arange(count[i]), last[i]).tolist()
                if centred:
                    expected = [centre - frames // 2 for centre in range(0, length, step)]
                elif length < frames:
                    expected = [-((frames - length) // 2)]
                else:
                    expected = list(range(0, length - frames + 1, step))
                    if step <= frames and expected[-1] + frames < length:
                        expected.append(length - frames)
                assert starts == expected == window_starts(length, frames, step, centred=centred).tolist()
