"""What a critic learns: the mean error, of the poses and joints that count."""

import math
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch.utils._pytree import tree_leaves

from seal_lightning.error_estimate import ErrorCritic
from seal_lightning.error_estimate.training import CriticTraining, View, true_errors
from seal_lightning.functional import mpjpe
from seal_lightning.skeleton import Skeleton

CHAIN = Skeleton.from_parents([-1, 0, 1])


def view_of(count=64, skeleton=CHAIN, **masks):
    joints = skeleton.num_joints
    target = torch.randn(count, joints, 3)
    pose = target + torch.randn(count, joints, 3) * torch.rand(count, 1, 1)
    inputs = {"keypoints": torch.randn(count, joints, 2), "confidence": torch.ones(count, joints)}
    return View({**inputs, "pose": pose, "flip": torch.zeros_like(pose)}, target, **masks)


def critic_of(**options):
    critic = ErrorCritic(CHAIN, hidden=16, depth=1, **options)
    critic.frame.update(torch.randn(100, 3, 3))
    return critic


def test_errors_are_those_of_the_metric():
    critic, visibility = critic_of(), torch.rand(64, 3) > 0.2
    visibility[:, 0] = True
    view = view_of(visibility=visibility)
    errors, counted, valid = true_errors(critic, view)
    wanted = mpjpe(view.inputs["pose"], view.target, root=0, visibility=visibility, reduction="none")
    torch.testing.assert_close(errors.pose * critic.frame.bone_length, wanted)
    assert torch.equal(counted.bool(), visibility)
    assert valid.all()


def test_it_learns_the_mean_error_where_nothing_tells_the_poses_apart():
    """Its loss is a deviance whose minimum is the mean, not the median or the mean of logarithms."""
    critic = critic_of(inputs=("confidence",))
    view = view_of(512)
    training = CriticTraining(critic, lr=0.03)
    for _ in range(400):
        training.step(view)
    critic.millimetres.fill_(1.0)
    errors = critic.errors(**view.inputs)
    true = true_errors(critic, view)[0]
    unit = critic.frame.bone_length
    torch.testing.assert_close(errors.pose.mean(), true.pose.mean() * unit, rtol=0.03, atol=0.0)
    torch.testing.assert_close(errors.joints.mean(0)[1:], true.joints.mean(0)[1:] * unit, rtol=0.03, atol=0.0)
    assert errors.joints[:, 0].max() < 0.05 * unit  # the root has no error


def test_the_loss_is_the_deviance():
    critic, view = critic_of(), view_of()
    logs, (errors, _, _) = critic(**view.inputs), true_errors(critic, view)
    wanted = 0.0
    for pose in range(64):
        ratios = [errors.pose[pose] / logs.pose[pose].exp()]
        joints = [max(errors.joints[pose, j], torch.tensor(1e-3)) / logs.joints[pose, j].exp() for j in range(3)]
        wanted += sum(float(r) - 1 - math.log(r) for r in ratios) + sum(float(r) - 1 - math.log(r) for r in joints) / 3
    assert float(CriticTraining(critic).loss(view)) == pytest.approx(wanted / 64, rel=1e-4)


@pytest.mark.parametrize("how", ["unlabelled", "NaN truth", "NaN pose", "invisible root"])
def test_what_does_not_count_changes_nothing(how):
    """A step on a batch with such samples is the step on the batch without them."""
    full, kept = view_of(), slice(0, 40)
    inputs, target = {name: value.clone() for name, value in full.inputs.items()}, full.target.clone()
    masks = {}
    if how == "unlabelled":
        masks["labelled"] = torch.arange(64) < 40
        target[40:] = 1e3
    elif how == "NaN truth":
        target[40:, 1] = torch.nan
    elif how == "NaN pose":
        inputs["pose"][40:] = torch.nan
    else:
        masks["visibility"] = torch.ones(64, 3, dtype=torch.bool)
        masks["visibility"][40:, 0] = False
    short = {name: mask[kept] for name, mask in masks.items()}
    critics = critic_of(), critic_of()
    critics[1].load_state_dict(critics[0].state_dict())
    views = View(inputs, target, **masks), View({n: v[kept] for n, v in inputs.items()}, target[kept], **short)
    losses = []
    for critic, view in zip(critics, views, strict=True):
        losses.append(CriticTraining(critic).loss(view))
        losses[-1].backward()
    torch.testing.assert_close(*losses)
    for one, other in zip(critics[0].parameters(), critics[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_a_batch_of_nothing_but_nan_breaks_nothing():
    critic, view = critic_of(), view_of()
    training = CriticTraining(critic)
    training.step(view)
    training.step(
        View({name: torch.full_like(v, torch.nan) for name, v in view.inputs.items()}, view.target * torch.nan)
    )
    assert all(parameter.isfinite().all() for parameter in critic.parameters())
    assert critic.frame.bone_length.isfinite()


def test_spawned_processes_do_not_share_one_critic():
    training, view = CriticTraining(critic_of()), view_of()
    training.step(view)
    training = pickle.loads(ForkingPickler.dumps(training))
    before = [parameter.clone() for parameter in training.critic.parameters()]
    tensors = tree_leaves((list(training.critic.parameters()), training.state_dict()))
    assert not any(tensor.is_shared() for tensor in tensors if isinstance(tensor, torch.Tensor))
    training.step(view)  # of the very parameters that its optimizer has
    assert not any(torch.equal(a, b) for a, b in zip(before, training.critic.parameters(), strict=True))


def test_a_state_of_another_critic_is_refused():
    state = CriticTraining(critic_of()).state_dict()
    with pytest.raises(ValueError, match="hold the critic of this configuration, but it holds another"):
        CriticTraining(ErrorCritic(CHAIN, hidden=8, depth=1)).load_state_dict(state)
    with pytest.raises(ValueError, match="Expected `lr` to be above 0 and finite, but got 0"):
        CriticTraining(critic_of(), lr=0)
