"""`SealBatch`: what a step hands over, and which frames and joints of it are scored."""

import pytest
import torch

from seal_lightning import SealBatch

J = 17


def pose(*leading, joints=J, channels=3):
    return torch.randn(*leading, joints, channels)


def test_some_frames():
    batch = SealBatch(pose(2, 5, channels=2), pose(2, 5).requires_grad_(), visibility=torch.ones(2, 5, J))
    kept = batch.some_frames(2, seed=0, draw=0)
    chosen = []
    for clip in range(2):
        where = [
            frame for frame in range(5) for x in kept.prediction[clip] if torch.equal(x, batch.prediction[clip, frame])
        ]
        assert where == sorted(set(where))
        assert torch.equal(kept.keypoints_2d[clip], batch.keypoints_2d[clip, where])
        chosen.append(where)
    assert [len(where) for where in chosen] == [2, 2]
    assert len({tuple(batch.some_frames(2, 0, draw).prediction[0, 0, 0].tolist()) for draw in range(20)}) > 2
    assert batch.some_frames(5, 0, 0) is batch
    assert batch.some_frames(None, 0, 0) is batch
    assert kept.keypoints_2d.shape == (2, 2, J, 2)
    assert kept.visibility.shape == (2, 2, J)
    assert kept.target is None
    assert kept.prediction.requires_grad
    assert not kept.detach().prediction.requires_grad


def test_joints_are_taken_from_what_has_as_many_as_the_prediction():
    joints = [4, 0, 20, *range(5, 19)]
    prediction, target, x = pose(2, joints=21), pose(2), pose(2, joints=21, channels=2)
    seen = torch.rand(2, 21) > 0.5
    batch = SealBatch(x, prediction, target, seen, torch.tensor([True, False]), joints=joints).complete()
    assert torch.equal(batch.prediction, prediction[:, joints])
    assert torch.equal(batch.keypoints_2d, x[:, joints])
    assert torch.equal(batch.visibility, seen[:, joints])
    assert batch.target is target
    assert batch.joints is None


@pytest.mark.parametrize("joints", [[21], [-1], [0.5], [], [True, "1"]])
def test_joints_that_are_none_are_refused(joints):
    with pytest.raises(ValueError, match=r"`joints` of SealBatch to be indices from 0 to 20, but got"):
        SealBatch(None, pose(2, joints=21), joints=joints).complete()


def test_without_keypoints_they_are_zeros():
    prediction = pose(2, 5).requires_grad_()
    batch = SealBatch(None, prediction)
    assert torch.equal(batch.complete().keypoints_2d, torch.zeros(2, 5, J, 2))
    assert torch.equal(batch.keypoints, torch.zeros(2, 5, J, 2))
    assert batch.complete().prediction is prediction
    whole = SealBatch(pose(2, channels=2), pose(2))
    assert whole.complete() is whole
