"""Every kind of corruption does what it says and nothing else; the report agrees with plain loops."""

import itertools
import re

import numpy as np
import pytest
import torch

from seal_lightning import SealLoss
from seal_lightning.evaluation.corruptions import SEVERITIES, corrupt, energy_report
from seal_lightning.functional import bone_lengths, root_align
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M, COCO = get_skeleton("h36m17"), get_skeleton("coco17")
EVERY = pytest.mark.parametrize("skeleton", [H36M, COCO], ids=["h36m17", "coco17"])


def random_poses(skeleton=H36M, count=64, seed=0):
    poses = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, skeleton.num_joints, 3)))
    return root_align(poses, skeleton.root_joints)


def damaged(kind, poses, skeleton, severity, seed=3):
    return corrupt(kind, poses, skeleton, severity, torch.Generator().manual_seed(seed))


def directions(poses, skeleton):
    child, parent = (list(ends) for ends in zip(*skeleton.bones, strict=True))
    bones = poses[:, child] - poses[:, parent]
    return bones / bones.norm(dim=-1, keepdim=True)


def stretches(poses, corrupted, skeleton):
    """Return by which factor each bone grew, and check that no bone changed its direction."""
    torch.testing.assert_close(directions(corrupted, skeleton), directions(poses, skeleton))
    return (bone_lengths(corrupted, skeleton) / bone_lengths(poses, skeleton)).numpy()


@EVERY
def test_bone_length(skeleton):
    poses = random_poses(skeleton)
    factors = stretches(poses, damaged("bone_length", poses, skeleton, 0.2), skeleton)
    changed = np.abs(factors - 1) > 1e-9
    assert (changed.sum(1) == 1).all()
    np.testing.assert_allclose(np.unique(factors[changed].round(9)), [0.8, 1.2])
    assert changed.any(0).sum() > 12  # in the long run every bone is drawn


@EVERY
def test_limb_scale(skeleton):
    poses = random_poses(skeleton)
    factors = stretches(poses, damaged("limb_scale", poses, skeleton, 0.1), skeleton)
    bone_of = {child: bone for bone, (child, _) in enumerate(skeleton.bones)}
    limbs = [{bone_of[joint] for joint in limb[1:]} for limb in skeleton.limbs]
    seen = set()
    for row in factors:
        changed = set(np.flatnonzero(np.abs(row - 1) > 1e-9))
        seen.add(limbs.index(changed))
        assert len({round(row[bone], 9) for bone in changed}) == 1
        assert round(row[min(changed)], 9) in (0.9, 1.1)
    assert seen == {0, 1, 2, 3}


def angle_at(pose, upper, hinge, lower):
    """Degrees between the limb's two halves as vectors: 0 where it is straight."""
    u, v = pose[hinge] - pose[upper], pose[lower] - pose[hinge]
    return np.degrees(np.arccos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1)))


def side_of(pose, upper, hinge, lower):
    """The direction in which the lower half leaves the line of the upper one."""
    u = (pose[hinge] - pose[upper]) / np.linalg.norm(pose[hinge] - pose[upper])
    v = pose[lower] - pose[hinge]
    across = v - (u @ v) * u
    return across / np.linalg.norm(across)


@EVERY
def test_joint_limit_bends_one_hinge_to_the_other_side(skeleton):
    poses = random_poses(skeleton)
    result = damaged("joint_limit", poses, skeleton, 25.0)
    torch.testing.assert_close(bone_lengths(result, skeleton), bone_lengths(poses, skeleton))
    used = set()
    for pose, bent in zip(poses.numpy(), result.numpy(), strict=True):
        (moved,) = np.flatnonzero(np.abs(bent - pose).max(-1) > 1e-9)  # a wrist or an ankle: no joint hangs below it
        (limb,) = (limb for limb in skeleton.limbs if limb[-1] == moved)
        assert round(angle_at(bent, *limb), 6) == 25
        np.testing.assert_allclose(side_of(bent, *limb), -side_of(pose, *limb), atol=1e-9)
        used.add(moved)
    assert len(used) == 4


def test_joint_limit_turns_a_hand_with_its_forearm():
    skeleton = get_skeleton("h3wb133")
    poses = random_poses(skeleton, count=8)
    result = damaged("joint_limit", poses, skeleton, 40.0)
    moved = (result - poses).abs().amax(-1) > 1e-9
    assert {int(count) for count in moved.sum(1)} <= {4, 22}  # ankle and foot, or wrist and hand
    assert 22 in moved.sum(1)
    torch.testing.assert_close(bone_lengths(result, skeleton), bone_lengths(poses, skeleton))


def leg(*bends):
    """A stick figure of two legs; straight halves of length 1 with these bends at the knees, in degrees."""
    skeleton = Skeleton(
        ("pelvis", "l_hip", "l_knee", "l_foot", "r_hip", "r_knee", "r_foot"),
        (-1, 0, 1, 2, 0, 4, 5),
        left=(1, 2, 3),
        right=(4, 5, 6),
        limbs=((1, 2, 3), (6, 5, 4)),  # the second from its far end
    )
    pose = torch.zeros(1, 7, 3, dtype=torch.float64)
    for side, bend in enumerate(np.radians(bends)):
        x = 1.0 if side == 0 else -1.0
        hip, knee, foot = 1 + 3 * side, 2 + 3 * side, 3 + 3 * side
        pose[0, hip] = torch.tensor([x, 0.0, 0.0])
        pose[0, knee] = torch.tensor([x, 1.0, 0.0])
        pose[0, foot] = torch.tensor([x, 1.0 + np.cos(bend), np.sin(bend)])
    return pose, skeleton


@pytest.mark.parametrize(("bends", "foot"), [((30, 5), 3), ((5, 30), 6), ((2, 5), 6)])
def test_joint_limit_takes_a_hinge_that_is_bent(bends, foot):
    pose, skeleton = leg(*bends)
    for seed in range(8):
        bent = damaged("joint_limit", pose, skeleton, 90.0, seed)
        expected = pose.clone()
        expected[0, foot] = torch.tensor([1.0 if foot == 3 else -1.0, 1.0, -1.0])
        torch.testing.assert_close(bent, expected)


def test_joint_limit_of_straight_limbs_bends_them_too():
    pose, skeleton = leg(0, 0)
    bent = damaged("joint_limit", pose, skeleton, 90.0)[0].numpy()
    (foot,) = np.flatnonzero(np.abs(bent - pose[0].numpy()).max(-1) > 1e-9)
    np.testing.assert_allclose(angle_at(bent, foot - 2, foot - 1, foot), 90, atol=1e-6)


def test_left_right_swap():
    poses = random_poses()
    branches = [{1, 2, 3, 4, 5, 6}, {11, 12, 13, 14, 15, 16}]
    mirrored = poses[:, list(H36M.partners)]
    torch.testing.assert_close(damaged("left_right_swap", poses, H36M, 1.0), mirrored)
    half = damaged("left_right_swap", poses, H36M, 0.5)
    seen = set()
    for pose, swapped, mirror in zip(poses, half, mirrored, strict=True):
        moved = set(torch.nonzero((swapped - pose).abs().amax(-1) > 1e-9).flatten().tolist())
        seen.add(branches.index(moved))
        torch.testing.assert_close(swapped[sorted(moved)], mirror[sorted(moved)])
    assert seen == {0, 1}


def test_left_right_swap_of_other_skeletons():
    poses = random_poses(COCO, count=4)
    torch.testing.assert_close(damaged("left_right_swap", poses, COCO, 1.0), poses[:, list(COCO.partners)])
    pair = Skeleton.from_parents([-1, 0], left=[0], right=[1])  # the root of the tree has a partner itself
    poses = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]])
    assert damaged("left_right_swap", poses, pair, 1.0).tolist() == [[[0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]]]


@EVERY
def test_depth_flip_keeps_lengths_and_images(skeleton):
    poses = random_poses(skeleton)
    part = damaged("depth_flip", poses, skeleton, 0.25)
    torch.testing.assert_close(part[..., :2], poses[..., :2])
    torch.testing.assert_close(bone_lengths(part, skeleton), bone_lengths(poses, skeleton))
    flipped = (directions(part, skeleton)[..., 2] * directions(poses, skeleton)[..., 2] < 0).sum(1)
    assert set(flipped.tolist()) == {4}
    torch.testing.assert_close(damaged("depth_flip", poses, skeleton, 1.0), poses * torch.tensor([1.0, 1.0, -1.0]))


@EVERY
def test_noise(skeleton):
    poses = random_poses(skeleton, count=2000)
    poses[1000:] *= 1000  # noise is relative to the size of the pose
    difference = damaged("noise", poses, skeleton, 0.1) - poses
    unit = bone_lengths(poses, skeleton).mean(1)
    free = [joint for joint in range(17) if joint not in skeleton.root_joints]
    noise = (difference / unit[:, None, None])[:, free]
    # Shifting the root back adds its noise (the mean noise of its joints) to all other joints.
    expected = 0.1 * (1 + 1 / len(skeleton.root_joints)) ** 0.5
    for part in (noise[:1000], noise[1000:]):
        np.testing.assert_allclose(part.std().item(), expected, rtol=0.02)
        assert abs(part.mean().item()) < 0.01


@EVERY
def test_global_scale(skeleton):
    poses = random_poses(skeleton)
    result = damaged("global_scale", poses, skeleton, 0.3)
    factor = (bone_lengths(result, skeleton) / bone_lengths(poses, skeleton))[:, :1, None]
    assert {round(float(value), 9) for value in factor} == {0.7, 1.3}
    torch.testing.assert_close(result, poses * factor)


@EVERY
@pytest.mark.parametrize("kind", SEVERITIES)
def test_what_every_kind_keeps(skeleton, kind):
    poses = random_poses(skeleton).requires_grad_()
    before = torch.random.get_rng_state()
    result = damaged(kind, poses, skeleton, SEVERITIES[kind][0])
    assert torch.equal(before, torch.random.get_rng_state())
    assert not result.requires_grad
    assert (result - poses).abs().amax((1, 2)).min() > 1e-4  # every pose is damaged
    torch.testing.assert_close(root_align(result, skeleton.root_joints), result)
    shift = torch.tensor([1.0, -2.0, 5.0])
    moved = damaged(kind, 1000 * poses.detach() + shift, skeleton, SEVERITIES[kind][0])
    torch.testing.assert_close(moved, 1000 * result + shift)
    assert torch.equal(damaged(kind, poses, skeleton, SEVERITIES[kind][0]), result)
    assert not torch.equal(damaged(kind, poses, skeleton, SEVERITIES[kind][0], seed=4), result)


@pytest.mark.parametrize("kind", [kind for kind in SEVERITIES if kind != "joint_limit"])  # its angle is measured above
def test_more_severe_is_further_from_the_truth(kind):
    poses = random_poses()
    errors = [(damaged(kind, poses, H36M, severity) - poses).norm(dim=-1).mean(1) for severity in SEVERITIES[kind]]
    for less, more in itertools.pairwise(errors):
        assert more.mean() > less.mean()
        if kind != "depth_flip":  # two flips along a chain may cancel each other
            assert (more > less).all()


def test_half_precision_poses_on_float32_draws():
    poses = random_poses().float()
    assert all(damaged(kind, poses, H36M, SEVERITIES[kind][0]).dtype == torch.float32 for kind in SEVERITIES)


CHAIN = Skeleton.from_parents([-1, 0, 1])


@pytest.mark.parametrize(
    ("kind", "skeleton", "severity", "message"),
    [
        ("sneeze", H36M, 0.1, "Expected `kind` to be one of ['bone_length', "),
        ("noise", H36M, 0.0, "Expected `severity` of 'noise' to be above 0 and at most inf, but got 0.0."),
        ("noise", H36M, float("inf"), "but got inf."),
        ("bone_length", H36M, 1.5, "Expected `severity` of 'bone_length' to be above 0 and at most 1.0, but got 1.5."),
        ("joint_limit", H36M, 200.0, "at most 180.0, but got 200.0."),
        ("limb_scale", CHAIN, 0.1, "Expected `skeleton` to have limbs, but got none."),
        (
            "left_right_swap",
            CHAIN,
            0.5,
            "Expected `skeleton` to have paired joints on the left and right, but got none.",
        ),
        (
            "joint_limit",
            CHAIN,
            20.0,
            "Expected `skeleton` to have a limb with a knee or an elbow between its ends",
        ),
        ("noise", Skeleton.from_parents([-1]), 0.1, "Expected `skeleton` to have bones, but got none."),
    ],
)
def test_errors(kind, skeleton, severity, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        damaged(kind, torch.zeros(2, skeleton.num_joints, 3), skeleton, severity)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=re.escape("shape (N, 17, 3), but got (2, 4, 17, 3)")):
        damaged("noise", torch.zeros(2, 4, 17, 3), H36M, 0.1)
    with pytest.raises(ValueError, match="Expected every item of `kinds` to be one of"):
        energy_report(lambda x, y: y.sum((1, 2)), torch.zeros(2, 17, 2), random_poses(count=2), H36M, kinds=["sneeze"])
    for energy in (lambda x, y: y.sum(2), lambda x, y: y.sum((1, 2)) / 0):
        with pytest.raises(ValueError, match=re.escape("one finite number per pose, shape (2,), but got shape")):
            energy_report(energy, torch.zeros(2, 17, 2), random_poses(count=2), H36M)


def mean_rank(values):
    return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]


def loop_spearman(a, b):
    x, y = np.array(mean_rank(a)) - np.mean(mean_rank(a)), np.array(mean_rank(b)) - np.mean(mean_rank(b))
    return 0.0 if not (x.any() and y.any()) else (x @ y) / np.sqrt((x @ x) * (y @ y))


def test_report_against_loops():
    poses, keypoints_2d = random_poses(count=20), torch.randn(20, 17, 2, dtype=torch.float64)

    def energy(keypoints_2d, poses):  # rounded, so that there are ties within and between poses
        return (2 * (poses[..., 2].std(1) + 0.1 * keypoints_2d[:, 0, 0])).round()

    report = energy_report(energy, keypoints_2d, poses, "h36m17", kinds=["noise", "depth_flip"], seed=11)
    assert list(report) == ["noise", "depth_flip"]
    true = energy(keypoints_2d, poses).tolist()
    for kind, score in report.items():
        columns = [true]
        for severity, auroc in zip(SEVERITIES[kind], score.auroc, strict=True):
            columns.append(energy(keypoints_2d, damaged(kind, poses, H36M, severity, seed=11)).tolist())
            wins = [(high > low) + 0.5 * (high == low) for high in columns[-1] for low in true]
            np.testing.assert_allclose(auroc, np.mean(wins))
        expected = np.mean([loop_spearman(row, range(len(columns))) for row in zip(*columns, strict=True)])
        np.testing.assert_allclose(score.monotonicity, expected)
        assert score.severities == SEVERITIES[kind]


def symmetry(keypoints_2d, poses):
    left, right = (list(bones) for bones in zip(*H36M.paired_bones, strict=True))
    lengths = bone_lengths(poses, H36M)
    ratio = (lengths[:, left] - lengths[:, right]).abs() / (lengths[:, left] + lengths[:, right])
    return ratio.mean(1).round(decimals=9)


def symmetric_poses():
    poses = random_poses(count=50)
    for left, right in zip(H36M.left, H36M.right, strict=True):
        poses[:, right] = poses[:, left] * torch.tensor([-1.0, 1.0, 1.0])
    poses[:, [0, 7, 8, 9, 10], 0] = 0
    return poses


def test_the_report_tells_what_an_energy_knows():
    report = energy_report(symmetry, torch.zeros(50, 17, 2), symmetric_poses(), H36M)
    assert min(report["limb_scale"].auroc) == 1
    assert report["limb_scale"].monotonicity > 0.99
    assert min(report["noise"].auroc) == 1
    for blind in ("global_scale", "depth_flip", "left_right_swap", "joint_limit"):
        assert set(report[blind].auroc) == {0.5}, blind
        assert report[blind].monotonicity == 0


def test_a_constant_energy_knows_nothing():
    report = energy_report(lambda x, y: torch.ones(len(y)), torch.zeros(8, 17, 2), random_poses(count=8), H36M)
    assert list(report) == list(SEVERITIES)
    assert all(set(score.auroc) == {0.5} and score.monotonicity == 0 for score in report.values())


def test_it_asks_a_loss_net():
    criterion, poses = SealLoss("h36m17"), random_poses(count=16).float()
    report = energy_report(
        lambda keypoints_2d, poses: criterion.energy(poses, keypoints_2d)["energy_0"],
        torch.randn(16, 17, 2),
        poses,
        "h36m17",
    )
    assert all(0 <= auroc <= 1 for score in report.values() for auroc in score.auroc)
    assert len({score.monotonicity for score in report.values()}) > 3
