"""Damaged keypoints against loops, and how often and how long the damage lasts."""

import re

import numpy as np
import pytest
import torch

from seal_lightning.data import DetectorNoise, Draws, MocapDataModule, SyntheticMocap
from seal_lightning.data.views.robustness import NOISE, OCCLUSION, SWAP, KeypointCorruption
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")
PAIRS = [(4, 1), (5, 2), (6, 3), (11, 14), (12, 15), (13, 16)]
LIMBS = [(1, 2, 3), (4, 5, 6), (11, 12, 13), (14, 15, 16)]
LEVELS = ("mild", "moderate", "severe")


def keypoints(batch=3, frames=5, joints=17, seed=0):
    return torch.rand(batch, frames, joints, 3, generator=torch.Generator().manual_seed(seed))


def damaged(points, skeleton=H36M, seed=0, **levels):
    return KeypointCorruption(**levels)(points, skeleton, Draws(seed, torch.arange(len(points))))


def run_lengths(on):
    """Lengths of the runs of true that neither begin nor end a row, of an array (rows, T)."""
    lengths = []
    for row in on:
        padded = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(int), [0]))))
        lengths += [b - a for a, b in zip(padded[::2], padded[1::2], strict=True) if a > 0 and b < len(row)]
    return np.array(lengths)


def test_nothing_happens_by_default():
    points = keypoints()
    assert torch.equal(damaged(points), points)


@pytest.mark.parametrize("level", LEVELS)
def test_occlusion_loses_whole_limbs_for_a_while(level):
    points = keypoints(400, 200) + 0.01
    seen = damaged(points, occlusion=level).numpy()
    share, run = OCCLUSION[level]
    lost = seen[..., 2] == 0
    assert not lost[..., [0, 7, 8, 9, 10]].any()
    for a, b, c in LIMBS:
        assert (lost[..., a] == lost[..., b]).all()
        assert (lost[..., a] == lost[..., c]).all()
        # Frames of a run are not independent: about 400 * 200 / (2 run) of them are.
        slack = 4 * np.sqrt(share * (1 - share) * 2 * run / 80_000)
        assert lost[..., a].mean() == pytest.approx(share, abs=slack)
        assert lost[:, 0, a].mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 400))
    assert run_lengths(lost[..., 1]).mean() == pytest.approx(run, rel=0.25)
    for i, j in ((1, 4), (1, 11), (11, 14)):  # limbs are lost one by one
        assert (lost[..., i] & lost[..., j]).mean() == pytest.approx(share**2, abs=0.03)


def test_lost_joints_lie_in_the_middle_of_those_still_seen():
    points = keypoints(50, 4) + 0.01
    seen, given = damaged(points, occlusion="severe").numpy(), points.numpy()
    count = 0
    for b in range(50):
        for t in range(4):
            lost = [j for j in range(17) if seen[b, t, j, 2] == 0]
            middle = np.mean([given[b, t, j, :2] for j in range(17) if j not in lost], axis=0)
            for j in range(17):
                expected = [*middle, 0.0] if j in lost else given[b, t, j]
                np.testing.assert_allclose(seen[b, t, j], expected, rtol=1e-5)
            count += len(lost)
    assert count > 300


def test_where_nothing_is_seen_the_middle_is_that_of_all():
    stick = Skeleton.from_parents([-1, 0], limbs=[(0, 1)])
    points = keypoints(200, 1, 2) + 0.01
    seen = damaged(points, stick, occlusion="severe")
    lost = seen[..., 2] == 0
    assert 20 < lost.any(-1).sum() < 120
    torch.testing.assert_close(seen[lost][:, :2], points[..., :2].mean(2, keepdim=True).expand(-1, -1, 2, -1)[lost])


@pytest.mark.parametrize("level", LEVELS)
def test_noise_is_larger_where_the_confidence_is_low(level):
    points = keypoints(3000, 2)
    points[..., 2] = torch.tensor([1.0, 0.25]).repeat(9)[:17]
    seen = damaged(points, noise=level)
    assert torch.equal(seen[..., 2], points[..., 2])
    size = (points[..., :2].amax(2) - points[..., :2].amin(2)).amax(-1)[..., None, None]
    error = ((seen - points)[..., :2] / size).double()
    for joint, factor in ((0, 1.0), (1, 4.0)):  # 1 + 4 * (1 - 0.25) = 4
        for axis in (0, 1):
            assert error[:, 0, joint, axis].std().item() == pytest.approx(NOISE[level] * factor, rel=0.06)
    first, second = error[:, 0, 0, 0], error[:, 1, 0, 0]
    assert torch.corrcoef(torch.stack((first, second)))[0, 1].item() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("level", LEVELS)
def test_swaps_exchange_left_and_right_for_a_while(level):
    points = keypoints(600, 100)
    seen = damaged(points, swap=level).numpy()
    given = points.numpy()
    body, pair, run = SWAP[level]
    swapped = np.zeros((600, 100, 17), dtype=bool)
    for left, right in PAIRS:
        exchanged = (seen[..., left, :] == given[..., right, :]).all(-1) & (
            seen[..., right, :] == given[..., left, :]
        ).all(-1)
        kept = (seen[..., left, :] == given[..., left, :]).all(-1) & (seen[..., right, :] == given[..., right, :]).all(
            -1
        )
        assert (exchanged ^ kept).all()
        swapped[..., left] = exchanged
    np.testing.assert_array_equal(seen[:, :, [0, 7, 8, 9, 10]], given[:, :, [0, 7, 8, 9, 10]])
    legs, arms = swapped[..., 4], swapped[..., 11]
    assert (swapped[..., [5, 6]] == legs[..., None]).all()
    assert (swapped[..., [12, 13]] == arms[..., None]).all()
    once = body * (1 - pair) + pair * (1 - body)
    slack = 4 * np.sqrt(once * 2 * run / 60_000)
    assert legs.mean() == pytest.approx(once, abs=slack)
    assert arms.mean() == pytest.approx(once, abs=slack)
    both = body * (1 - pair) ** 2 + (1 - body) * pair**2
    assert (legs & arms).mean() == pytest.approx(both, abs=4 * np.sqrt(both * 2 * run / 60_000))


def test_other_skeletons_are_swapped_by_their_partners():
    coco = get_skeleton("coco17")
    points = keypoints(300, 1)
    seen = damaged(points, coco, swap="severe")
    whole = (seen == points[:, :, list(coco.partners)]).all(-1).all(-1)
    assert 1 < whole.sum() < 60
    assert (seen == points).all(-1).all(-1).sum() > 150


def test_damage_is_a_function_of_the_row_alone():
    points = keypoints(8, 6)
    levels = {"occlusion": "severe", "noise": "severe", "swap": "severe"}
    whole = damaged(points, **levels)
    some = [5, 2]
    part = KeypointCorruption(**levels)(points[some], H36M, Draws(0, torch.tensor(some)))
    assert torch.equal(part, whole[some])
    assert not torch.equal(whole, damaged(points, seed=1, **levels))


def test_kinds_do_not_disturb_each_other():
    """Occlusion hides the same limbs whether or not there are swaps and noise."""
    points = keypoints(200, 3) + 0.01
    alone, together = (
        damaged(points, occlusion="severe"),
        damaged(points, occlusion="severe", noise="mild", swap="mild"),
    )
    assert torch.equal(alone[..., 2] == 0, together[..., 2] == 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: KeypointCorruption(swap="wild"),
            "Expected `swap` to be one of ['none', 'mild', 'moderate', 'severe'],",
        ),
        (lambda: damaged(keypoints()[..., :2]), "`keypoints_2d` to have shape (B, T, 17, 3), but got (3, 5, 17, 2)."),
        (
            lambda: damaged(keypoints(joints=2), Skeleton.from_parents([-1, 0]), occlusion="mild"),
            "Expected a skeleton with `limbs` to occlude, but it has none.",
        ),
        (
            lambda: damaged(keypoints(joints=2), Skeleton.from_parents([-1, 0]), swap="mild"),
            "Expected a skeleton with `left` and `right` joints to swap, but it has none.",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def module(**options):
    small = SyntheticMocap(subjects=3, clips_per_subject=2, frames=20)
    return MocapDataModule(**{"synthetic": small, "batch_size": 16, "confidence": True} | options)


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("noise", [None, DetectorNoise()])
def test_batches_are_the_same_for_every_batch_size_and_worker(frames, noise):
    levels = KeypointCorruption(occlusion="severe", noise="moderate", swap="severe")
    options = {"frames": frames, "noise": noise, "corruption": levels}
    whole = torch.cat([b["keypoints_2d"] for b in module(**options).test_dataloader()])
    small = torch.cat([b["keypoints_2d"] for b in module(**options, batch_size=3, seed=5).test_dataloader()])
    helped = torch.cat([b["keypoints_2d"] for b in module(**options, num_workers=1).test_dataloader()])
    assert torch.equal(whole, small)
    assert torch.equal(whole, helped)
    assert ((whole[..., 2] == 0).float().mean() - 0.3 * 12 / 17).abs() < 0.1
    plain = torch.cat([b["keypoints_2d"] for b in module(frames=frames, noise=noise).test_dataloader()])
    assert (whole == plain).all(-1).float().mean() < 0.1
    without = module(**options | {"confidence": False}).dataset("test").__getitems__([0, 1])
    assert torch.equal(without["keypoints_2d"], whole[:2, ..., :2])
    assert without["keypoints_2d"].shape[-1] == 2


def test_evaluation_can_differ_from_training():
    severe = KeypointCorruption(occlusion="severe")
    both, eval_only, clean = module(corruption=severe), module(eval_corruption=severe), module()
    cleaned = module(corruption=severe, eval_corruption=KeypointCorruption())
    indices = list(range(40))

    def first(data, side):
        return data.dataset(side).__getitems__(indices)["keypoints_2d"]

    assert torch.equal(first(both, "test"), first(eval_only, "test"))
    assert torch.equal(first(eval_only, "train"), first(clean, "train"))
    assert torch.equal(first(cleaned, "train"), first(both, "train"))
    assert torch.equal(first(cleaned, "val"), first(clean, "val"))
    assert not torch.equal(first(both, "test"), first(clean, "test"))
    assert not torch.equal(first(both, "train"), first(clean, "train"))
