"""Batches, draws and the sampler."""

import numpy as np
import pytest
import torch

from seal_lightning.data import DetectorNoise, DrawSampler, Mocap, MocapDataModule, SyntheticMocap

SMALL = SyntheticMocap(subjects=3, clips_per_subject=3, frames=20)
NAMES = ("keypoints_2d", "target", "group")


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in NAMES)


def module(**options):
    return MocapDataModule(**{"synthetic": SMALL, "batch_size": 16} | options)


def in_memory(positions, lengths, *, fps=25.0, **options):
    """A data module around given clips, which all train."""
    data = MocapDataModule(split={"train": ["a"]}, **options)
    start = np.cumsum([0, *lengths[:-1]])
    data._mocaps = [Mocap("mine", positions, start, np.array(lengths), np.full(len(lengths), "a"), fps)]
    data._groups = {"train": ["mine/a"], "val": [], "test": []}
    return data.dataset("train")


def motion():
    return SMALL.generate().positions.astype(np.float64)


@pytest.mark.parametrize("unit", ["mm", "m"])
def test_a_pinhole_camera_explains_every_sample(unit):
    """Solve for focal length and root position from keypoints and target alone, by least squares."""
    dataset = module(unit=unit).dataset("train")
    batch = dataset.__getitems__(list(range(0, len(dataset), 7)))
    scale = {"mm": 1.0, "m": 1000.0}[unit]
    for keypoints, target in zip(batch["keypoints_2d"].double().numpy(), batch["target"].double().numpy(), strict=True):
        rows, sides = [], []
        for (u, v), (x, y, z) in zip(keypoints, target * scale, strict=True):
            # u (z + tz) = f x + f tx, linear in (f, f tx, f ty, tz)
            rows += [[x, 1.0, 0.0, -u], [y, 0.0, 1.0, -v]]
            sides += [u * z, v * z]
        rows, sides = np.array(rows), np.array(sides)
        (focal, _, _, depth), *_ = np.linalg.lstsq(rows, sides, rcond=None)
        assert np.abs(rows @ np.linalg.lstsq(rows, sides, rcond=None)[0] - sides).max() < 0.05
        assert 2.2 * 0.98 < focal < 2.38 * 1.02
        assert depth > 2500.0


def test_targets_are_the_mocap_poses_turned():
    dataset = module(unit="mm").dataset("train")
    indices = list(range(0, len(dataset), 5))
    target = dataset.__getitems__(indices)["target"].double().numpy()
    world = motion()[indices]  # subject y01 alone trains: sample i is frame i
    for seen, true in zip(target, world, strict=True):
        np.testing.assert_allclose(seen[0], 0.0, atol=1e-3)
        for a, b in ((3, 10), (13, 16), (2, 5), (0, 9)):
            assert np.linalg.norm(seen[a] - seen[b]) == pytest.approx(np.linalg.norm(true[a] - true[b]), abs=0.01)
        corners = [1, 8, 16]
        volume = np.linalg.det(seen[corners]), np.linalg.det((true - true[0])[corners])
        assert volume[0] == pytest.approx(volume[1], rel=1e-3, abs=100.0)  # turned, not mirrored
        assert seen[10, 1] < 0.0  # the head is above the hip, y points down


def test_units():
    metres, millimetres = (module(unit=unit).dataset("train").__getitems__([3, 30]) for unit in ("m", "mm"))
    torch.testing.assert_close(metres["target"] * 1000.0, millimetres["target"])
    assert torch.equal(metres["keypoints_2d"], millimetres["keypoints_2d"])
    assert 0.5 < metres["target"].norm(dim=-1).max() < 1.6


def test_batch_shapes_and_types():
    noise = DetectorNoise()
    for options, keypoints, target in (
        ({}, (5, 17, 2), (5, 17, 3)),
        ({"confidence": True}, (5, 17, 3), (5, 17, 3)),
        ({"noise": noise}, (5, 17, 2), (5, 17, 3)),
        ({"noise": noise, "confidence": True}, (5, 17, 3), (5, 17, 3)),
        ({"frames": 9}, (5, 9, 17, 2), (5, 9, 17, 3)),
        ({"frames": 9, "noise": noise, "confidence": True}, (5, 9, 17, 3), (5, 9, 17, 3)),
        ({"frames": 9, "centre_target": True}, (5, 9, 17, 2), (5, 17, 3)),
    ):
        dataset = module(**options).dataset("train")
        batch = dataset.__getitems__([0, 2, 4, 6, 8])
        assert batch["keypoints_2d"].shape == keypoints
        assert batch["target"].shape == target
        assert batch["keypoints_2d"].dtype == batch["target"].dtype == torch.float32
        assert batch["group"].tolist() == [0] * 5
        assert batch["group"].dtype == torch.int64
        one = dataset[4]
        assert all(torch.equal(one[name], batch[name][2]) for name in NAMES)
    with pytest.raises(IndexError, match=r"Expected `index` to be from 0 to \d+, but got -1\."):
        dataset[-1]
    assert len(list(dataset)) == len(dataset)


def test_confidence_is_one_without_noise():
    batch = module(confidence=True).dataset("val").__getitems__([0, 1])
    assert torch.equal(batch["keypoints_2d"][..., 2], torch.ones(2, 17))


def test_noise_moves_keypoints_and_no_target():
    clean, noisy = (module(noise=noise).dataset("val").__getitems__([0, 1]) for noise in (None, DetectorNoise()))
    assert torch.equal(clean["target"], noisy["target"])
    assert not torch.isclose(clean["keypoints_2d"], noisy["keypoints_2d"]).all(dim=-1).any()
    torch.testing.assert_close(clean["keypoints_2d"].mean(1), noisy["keypoints_2d"].mean(1), atol=0.1, rtol=0)


def test_draws_are_fresh_and_fixed_cameras_are_not():
    random, fixed = (module(train_cameras=c).dataset("train") for c in ("random", "fixed"))
    first, second = (random.__getitems__([4 + draw * len(random)]) for draw in (0, 1))
    assert not torch.isclose(first["keypoints_2d"], second["keypoints_2d"]).any()
    first, second = (fixed.__getitems__([4 + draw * len(fixed)]) for draw in (0, 1))
    assert same(first, second)
    noisy = module(train_cameras="fixed", noise=DetectorNoise()).dataset("train")
    first, second = (noisy.__getitems__([4 + draw * len(noisy)]) for draw in (0, 1))
    assert torch.equal(first["target"], second["target"])
    assert not torch.isclose(first["keypoints_2d"], second["keypoints_2d"]).all(dim=-1).any()


def test_evaluation_cameras_are_several_a_clip_and_stand_still():
    dataset = module(eval_cameras_per_clip=3, unit="mm").dataset("test")
    assert len(dataset) == 3 * 60
    batch = dataset.__getitems__(list(range(180)))
    target = batch["target"].double().numpy().reshape(60, 3, 17, 3)
    poses = motion()[120:] - motion()[120:, :1]
    turns = []
    for frame, pose in enumerate(poses):
        for camera in range(3):
            turn, *_ = np.linalg.lstsq(pose, target[frame, camera], rcond=None)
            turns.append(turn)
    turns = np.array(turns).reshape(3, 20, 3, 3, 3)  # clip, frame, camera
    assert np.abs(turns - turns[:, :1]).max() < 1e-3
    apart = [np.abs(turns[0, 0, a] - turns[c, 0, b]).max() for a, b, c in ((0, 1, 0), (1, 2, 0), (0, 0, 1))]
    assert min(apart) > 0.02


def test_short_clips_are_padded_with_their_ends():
    dataset = in_memory(motion()[:13], [3, 10], frames=7, unit="mm")
    assert len(dataset) == 1 + 4
    target = dataset[0]["target"]
    assert all(torch.equal(target[0], target[i]) for i in (1, 2))
    assert all(torch.equal(target[4], target[i]) for i in (5, 6))
    assert not torch.equal(target[2], target[3])
    assert not torch.equal(target[3], target[4])


def test_centred_windows_target_their_middle():
    whole = in_memory(motion()[:12], [12], frames=12, train_cameras="fixed", unit="mm")[0]["target"]
    dataset = in_memory(motion()[:12], [12], frames=5, centre_target=True, train_cameras="fixed", unit="mm")
    assert len(dataset) == 12
    for frame in range(12):
        torch.testing.assert_close(dataset[frame]["target"], whole[frame])
    edge, inside = dataset[0]["keypoints_2d"], dataset[2]["keypoints_2d"]
    assert torch.equal(edge[0], edge[2])
    torch.testing.assert_close(edge[2:], inside[:3])


def test_windows_are_resampled_and_single_frames_are_not():
    speed = np.array([0.0, 0.0, 0.0])
    frames = np.arange(31)
    clip = np.repeat(motion()[:1], 31, axis=0)
    clip[:, 16] += np.array([6.0, 0.0, 0.0]) * frames[:, None] + speed  # 180 mm/s at 30 fps
    windows = in_memory(clip, [31], fps=30.0, frames=26, unit="mm")
    assert len(windows) == 1
    wrist = windows[0]["target"][:, 16].double().numpy()
    np.testing.assert_allclose(np.linalg.norm(np.diff(wrist, axis=0), axis=-1), 180.0 / 25.0, atol=2e-3)
    assert len(in_memory(clip, [31], fps=30.0)) == 31
    assert len(in_memory(clip, [31], fps=30.0, frames=11, rate=15.0)) == 16 - 10


def test_frame_steps():
    assert len(module(train_frame_step=6).dataset("train")) == 3 * 4
    assert len(module(eval_frame_step=6, eval_cameras_per_clip=1).dataset("test")) == 3 * 4
    assert len(module(frames=8).dataset("test")) == 3 * 3  # 0-7, 8-15, 12-19
    assert len(module(frames=8, centre_target=True).dataset("test")) == 3 * 20


def sampled(size_of=None, **options):
    dataset = module().dataset("train")
    return dataset, DrawSampler(dataset, **{"samples": len(dataset), "seed": 0} | options)


def epoch(sampler, number):
    sampler.set_epoch(number)
    return list(sampler)


def test_sampler_permutes_and_counts_draws():
    dataset, sampler = sampled()
    n = len(dataset)
    first, second = epoch(sampler, 0), epoch(sampler, 1)
    assert sorted(first) == list(range(n))
    assert sorted(second) == list(range(n, 2 * n))
    assert [i % n for i in first] != [i % n for i in second]
    assert first != list(range(n))
    assert epoch(sampler, 0) == first
    assert epoch(sampled(seed=1)[1], 0) != first


@pytest.mark.parametrize("samples", [7, 60, 150])
def test_epochs_of_any_size_take_every_sample_equally(samples):
    dataset, sampler = sampled(samples=samples)
    epochs = -(-3 * len(dataset) // samples)
    assert len(sampler) == samples
    row = [i for number in range(epochs) for i in epoch(sampler, number)]
    assert len(row) == epochs * samples
    assert sorted(row[: 3 * len(dataset)]) == list(range(3 * len(dataset)))


def test_ranks_share_the_batches_of_one_process():
    whole = epoch(sampled()[1], 2)
    ranks = [epoch(sampled(num_replicas=2, rank=rank)[1], 2) for rank in range(2)]
    assert [i for pair in zip(*ranks, strict=True) for i in pair] == whole
    odd = [sampled(samples=7, num_replicas=2, rank=rank)[1] for rank in range(2)]
    assert [len(epoch(sampler, 0)) for sampler in odd] == [len(sampler) for sampler in odd] == [4, 4]
