"""Rescaling, the control of a comparison, against NumPy loops over the bones."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seal_lightning import SealBatch, Skeleton, get_skeleton
from seal_lightning.evaluation.rescaling import TrainingLengths, clip_lengths, rescale

H36M = get_skeleton("h36m17")
ARMS = Skeleton(("neck", "l", "r", "l2", "r2"), (-1, 0, 0, 1, 2), left=(1, 3), right=(2, 4))


def collect(batches, skeleton):
    collector = TrainingLengths()
    module = SimpleNamespace(seal=SimpleNamespace(skeleton=skeleton), _seal_last=None)
    collector.on_fit_start(None, module)
    for batch in batches:
        module._seal_last = batch
        collector.on_train_batch_end(None, module, None, None, 0)
    return collector


def batch_of(target, **fields):
    return SealBatch(torch.zeros(*target.shape[:-1], 2), torch.zeros_like(target), target, **fields)


def lengths_of(pose, skeleton):
    return np.array([np.linalg.norm(pose[child] - pose[parent]) for child, parent in skeleton.bones])


def test_training_lengths_are_the_mean_over_labelled_and_visible_bones():
    poses, clips = torch.randn(4, 17, 3), torch.randn(2, 3, 17, 3)
    labelled, hidden = torch.tensor([True, False, True, True]), torch.rand(2, 3, 17) < 0.3
    poses[1] = torch.nan
    collector = collect([batch_of(poses, labelled=labelled), batch_of(clips, visibility=~hidden)], H36M)
    for bone, (child, parent) in enumerate(H36M.bones):
        found = [np.linalg.norm(poses[i, child] - poses[i, parent]) for i in (0, 2, 3)]
        for b in range(2):
            for t in range(3):
                if not hidden[b, t, child] and not hidden[b, t, parent]:
                    found.append(np.linalg.norm(clips[b, t, child] - clips[b, t, parent]))
        assert collector.lengths[bone] == pytest.approx(np.mean(found), rel=1e-5)
    assert collector.seconds > 0


def test_training_lengths_of_a_labelled_clip():
    clips = torch.randn(3, 4, 5, 3)
    clips[2] = torch.nan
    collector = collect([batch_of(clips, labelled=torch.tensor([True, True, False]))], ARMS)
    expected = np.mean([lengths_of(pose, ARMS) for pose in clips[:2].flatten(0, 1).numpy()], axis=0)
    assert collector.lengths.numpy() == pytest.approx(expected, rel=1e-5)


def test_steps_without_a_truth_of_their_own_do_not_count():
    first, second = batch_of(torch.randn(2, 5, 3)), batch_of(torch.randn(3, 5, 3))
    unlabelled = SealBatch(torch.zeros(2, 5, 2), torch.zeros(2, 5, 3))
    collector = collect([first, first, None, unlabelled, second, None], ARMS)
    poses = torch.cat([first.target, second.target]).numpy()
    expected = np.mean([lengths_of(pose, ARMS) for pose in poses], axis=0)
    assert collector.lengths.numpy() == pytest.approx(expected, rel=1e-5)


def test_training_lengths_keep_their_digits():
    batches = [batch_of(torch.full((1, 5, 3), 0.1) * torch.arange(5.0)[:, None]) for _ in range(3000)]
    assert collect(batches, ARMS).lengths[0].item() == pytest.approx(0.1 * 3**0.5, rel=1e-6)


def test_bone_that_was_never_seen_has_no_length():
    visibility = torch.ones(2, 5, dtype=torch.bool)
    visibility[:, 4] = False
    lengths = collect([batch_of(torch.randn(2, 5, 3), visibility=visibility)], ARMS).lengths
    assert lengths.isnan().tolist() == [False, False, False, True]
    assert collect([], ARMS).lengths.isnan().all()


def numpy_rescale(pose, mean, skeleton, seen, share=0.25, symmetric=True):
    """From the root, bone by bone. One with an invisible end keeps its length; one without a mean does not shrink."""
    own = lengths_of(pose, skeleton)
    both = [seen[child] and seen[parent] for child, parent in skeleton.bones]
    shrunk = [
        (1 - share) * o + share * m if ok and np.isfinite(m) else o for o, m, ok in zip(own, mean, both, strict=True)
    ]
    new = list(shrunk)
    for left, right in skeleton.paired_bones if symmetric else ():
        if both[left] and both[right]:
            new[left] = new[right] = (shrunk[left] + shrunk[right]) / 2
    moved = pose.copy()
    for joint in skeleton.order[1:]:
        parent = skeleton.parents[joint]
        bone = [child for child, _ in skeleton.bones].index(joint)
        moved[joint] = moved[parent] + new[bone] * (pose[joint] - pose[parent]) / own[bone]
    return moved


@pytest.mark.parametrize("skeleton", [H36M, ARMS, Skeleton.from_parents([-1, 0, 1, 1])])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("share", "symmetric"), [(0.25, True), (0.25, False), (0.0, True)])
def test_rescaled_poses(skeleton, masked, share, symmetric):
    joints = skeleton.num_joints
    pose, mean = torch.randn(2, 6, joints, 3, dtype=torch.float64), torch.rand(joints - 1, dtype=torch.float64) + 0.5
    mean[0] = torch.nan
    seen = torch.rand(2, 6, joints) > 0.25 if masked else torch.ones(2, 6, joints, dtype=torch.bool)
    how = {"mean": share > 0, "symmetric": symmetric}
    result = rescale(pose, mean, skeleton, seen if masked else None, **how)
    for index in np.ndindex(2, 6):
        expected = numpy_rescale(pose[index].numpy(), mean.numpy(), skeleton, seen[index].tolist(), share, symmetric)
        found = result[index].numpy()
        visible = seen[index].numpy()
        shift = (found - expected)[visible][:1]  # the pose as a whole may be shifted: the metrics align roots anyway
        assert found[visible] - shift == pytest.approx(expected[visible])


def test_everything_visible_is_as_no_mask():
    pose, mean = torch.randn(4, 17, 3), torch.rand(16)
    seen = torch.ones(4, 17, dtype=torch.bool)
    assert torch.allclose(rescale(pose, mean, H36M, seen), rescale(pose, mean, H36M), atol=1e-5)


def test_invisible_joints_move_no_other():
    pose, mean = torch.randn(3, 17, 3), torch.rand(16)
    seen = torch.ones(3, 17, dtype=torch.bool)
    seen[:, [2, 15]] = False  # a knee and an elbow, each with a visible joint further out
    wild = pose.clone()
    wild[:, 2], wild[:, 15] = torch.nan, 1e9
    calm, other = rescale(pose, mean, H36M, seen), rescale(wild, mean, H36M, seen)
    assert torch.allclose(calm[seen], other[seen], atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_bones_of_a_clip_get_their_mean_over_the_frames_that_show_them(masked):
    clip = torch.randn(2, 6, 17, 3, dtype=torch.float64)
    seen = torch.rand(2, 6, 17) > 0.2 if masked else torch.ones(2, 6, 17, dtype=torch.bool)
    result = clip_lengths(clip, H36M, seen if masked else None).numpy()
    for b in range(2):
        for child, parent in H36M.bones:
            frames = [t for t in range(6) if seen[b, t, child] and seen[b, t, parent]]
            own = [np.linalg.norm(clip[b, t, child] - clip[b, t, parent]) for t in frames]
            for t in frames:
                assert np.linalg.norm(result[b, t, child] - result[b, t, parent]) == pytest.approx(np.mean(own))
