"""Loss-nets that see clips, in the criterion and in training."""

from functools import partial

import lightning as L
import pytest
import torch
from torch import nn

from examples.backbones import MixSTE
from examples.seal_backbone import SealBackbone
from seal_lightning import EnergyTerm, ForceRatio, SealBatch, SealConfig, SealLoss
from seal_lightning.callbacks import EnergyMonitor
from seal_lightning.data import MocapDataModule, SyntheticMocap
from seal_lightning.loss_nets import ClipLossNet, LossNet, StructureLossNet
from seal_lightning.objectives import DenoisingScore
from tests.loss.energies import Height

SMALL = partial(ClipLossNet, hidden=8)


class Jumps(LossNet):
    """Of each frame the squared distance to the frame before it, times one parameter: known in closed form."""

    sees_clips = True

    def __init__(self, skeleton):
        super().__init__(skeleton)
        self.scale = nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, keypoints_2d, pose, seen):
        self.seen.append(seen)
        steps = (pose - pose.roll(1, dims=1)).square().sum((-1, -2))
        return self.scale * steps * (torch.arange(pose.shape[1]) > 0)


class JumpsOfClip(Jumps):
    """One energy a clip: the mean."""

    def forward(self, keypoints_2d, pose, seen):
        return super().forward(keypoints_2d, pose, seen).mean(1)


class HeightOfClip(Height):
    """`Height` of every frame, by a net that is shown clips."""

    sees_clips = True

    def forward(self, keypoints_2d, pose, seen):
        return super().forward(keypoints_2d, pose)


def clips(batch=3, frames=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(batch, 1, 17, 3, generator=generator)
    target = target + 0.05 * torch.randn(batch, frames, 17, 3, generator=generator)
    prediction = target + 0.3 * torch.randn(batch, frames, 17, 3, generator=generator)
    return prediction.requires_grad_(), target, torch.randn(batch, frames, 17, 2, generator=generator)


def masks():
    visible = torch.rand(3, 4, 17, generator=torch.Generator().manual_seed(1)) < 0.7
    visible[:, :, 0] = True
    visible[1, 2, 0] = False  # a frame without a root
    return visible


def results(term, update="alternating", **given):
    """Energies, gradients of the loss-net, and the pull, in a unit that does not depend on what is given."""
    criterion = SealLoss("h36m17", [term], update=update)
    prediction, target, keypoints_2d = clips()
    criterion.frame.update(target)
    criterion.eval()
    criterion.ranking_loss(prediction, target, keypoints_2d, **given).backward()
    learned = torch.cat([parameter.grad.flatten() for parameter in criterion.parameters()])
    task = torch.ones_like(prediction)
    (pull,) = torch.autograd.grad(criterion.energy_loss(prediction, keypoints_2d, task, **given), prediction)
    energy = criterion.energy(prediction, keypoints_2d, given.get("visibility"))["energy_0"]
    return energy.detach(), learned, pull


@pytest.mark.parametrize("masked", [False, True])
def test_a_net_that_looks_at_each_frame_of_a_clip_is_one_that_looks_at_frames(masked):
    given = {"visibility": masks(), "labelled": torch.tensor([True, True, False])} if masked else {}
    penalty = DenoisingScore()
    for one, other in zip(
        *(results(EnergyTerm(net, gradient_penalty=penalty), **given) for net in (Height, HeightOfClip)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_the_pull_on_a_clip_is_the_gradient_of_its_mean_energy():
    prediction, _, keypoints_2d = clips()
    for net in (Jumps, JumpsOfClip):
        criterion = SealLoss("h36m17", [EnergyTerm(net, weight=2.0)])
        criterion.frame.update(torch.ones(1, 17, 3) * torch.arange(17)[:, None])  # any unit
        loss = criterion.energy_loss(prediction, keypoints_2d, torch.ones_like(prediction))
        steps = (prediction - prediction[:, :, :1]).diff(dim=1) / criterion.frame.bone_length
        expected = 2 * steps.square().sum((-1, -2)).sum(1).mean() / 4  # over four frames, the first of which has none
        torch.testing.assert_close(loss, expected)
        for one, other in zip(*(torch.autograd.grad(value, prediction) for value in (loss, expected)), strict=True):
            torch.testing.assert_close(one, other)


def test_force_ratio_counts_the_whole_clip():
    """Each clip is pulled by a share of the mean task force on a clip, both measured over all of its frames."""
    prediction, target, keypoints_2d = clips()
    criterion = SealLoss("h36m17", [EnergyTerm(SMALL, weight=ForceRatio(0.3))])
    criterion.ranking_loss(prediction, target, keypoints_2d)
    task = torch.randn_like(prediction)
    (pull,) = torch.autograd.grad(criterion.energy_loss(prediction, keypoints_2d, task), prediction)
    lengths, forces = pull.flatten(1).norm(dim=1), task.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, (0.3 * forces.mean()).expand(3))
    assert (pull.flatten(2).norm(dim=-1).std(1) > 0).all()  # but within it, frames differ


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("net", [SMALL, JumpsOfClip])
def test_one_pass_equals_two(net, masked):
    given = {"visibility": masks(), "labelled": torch.tensor([True, True, False])} if masked else {}
    term = EnergyTerm(net, gradient_penalty=0.3)
    for separate, shared in zip(results(term, **given), results(term, "simultaneous", **given), strict=True):
        assert separate.abs().max() > 0
        torch.testing.assert_close(shared, separate, rtol=2e-4, atol=1e-5 * float(separate.abs().max()))


def test_the_shared_pass_scores_no_clip_twice(monkeypatch):
    calls = []
    forward = ClipLossNet.forward
    monkeypatch.setattr(ClipLossNet, "forward", lambda self, *given: calls.append(1) or forward(self, *given))
    results(EnergyTerm(SMALL), "simultaneous")
    assert len(calls) == 2  # the ranking, and `energy` at the end of `results`


def test_a_frame_without_a_root_is_no_part_of_the_clip():
    visible, term = masks(), EnergyTerm(SMALL, weight=1.0, gradient_penalty=DenoisingScore())
    cut = visible.clone()
    cut[1, 2] = False
    for one, other in zip(results(term, visibility=visible), results(term, visibility=cut), strict=True):
        torch.testing.assert_close(one, other)


def test_the_net_is_told_what_is_seen():
    _, target, keypoints_2d = clips()
    criterion = SealLoss("h36m17", [EnergyTerm(Jumps)])
    criterion.energy(target, keypoints_2d)
    visible = masks()
    criterion.energy(target, keypoints_2d, visible)
    nothing, seen = criterion.loss_nets["energy_0"].seen
    assert nothing is None
    assert torch.equal(seen, (visible & visible[:, :, :1]).float())


def test_masked_slopes_leave_out_frames_without_a_root():
    """The squared slope of the energies of the frames that count: each term of the sum by hand."""
    _, target, keypoints_2d = clips()
    visible = torch.ones(3, 4, 17, dtype=torch.bool)
    visible[1, 2, 0] = False
    losses = []
    for penalty in (0.0, 1.0):
        criterion = SealLoss("h36m17", [EnergyTerm(Jumps, gradient_penalty=penalty)])
        losses.append(criterion.ranking_loss(target, target, keypoints_2d, visible))
    pose = criterion.frame(target, keypoints_2d, visible).pose.view(target.shape).requires_grad_()
    steps = pose.diff(dim=1).square().sum((-1, -2))
    counted = torch.ones(3, 3)
    counted[1, 1] = 0  # the energy of the frame without a root
    (slope,) = torch.autograd.grad((counted * steps).sum(), pose)
    frames = torch.ones(3, 4)
    frames[1, 2] = 0
    expected = (0.5 * slope.square().sum((-1, -2)) * frames).sum() / frames.sum()
    torch.testing.assert_close(losses[1] - losses[0], expected)


def test_single_poses_are_refused_with_the_remedy():
    prediction, target, keypoints_2d = clips()
    criterion = SealLoss("h36m17", [EnergyTerm(SMALL, name="mine")])
    for one in (0, slice(0, 1)):
        with pytest.raises(ValueError, match=r"loss-net of 'mine' sees clips, but got single poses\. .*Structure"):
            criterion.ranking_loss(prediction[:, one], target[:, one], keypoints_2d[:, one])
        with pytest.raises(ValueError, match="loss-net of 'mine' sees clips"):
            criterion.energy(prediction[:, one], keypoints_2d[:, one])


def test_a_net_with_another_number_of_energies_is_refused():
    class Wrong(Jumps):
        def forward(self, keypoints_2d, pose, seen):
            return super().forward(keypoints_2d, pose, seen)[:, 1:]

    prediction, _, keypoints_2d = clips()
    with pytest.raises(ValueError, match=r"one energy a pose, shape \(3, 4\), but 'energy_0' returned \(3, 3\)"):
        SealLoss("h36m17", [EnergyTerm(Wrong)]).energy(prediction, keypoints_2d)


def test_chosen_frames_are_in_a_row():
    frame = torch.arange(6.0).view(1, 6, 1, 1).expand(200, 6, 17, 3)
    read = SealBatch(frame[..., :2], frame, frame).some_frames(4, seed=0, draw=3, in_a_row=True)
    kept = read.prediction[..., 0, 0]
    assert torch.equal(kept, kept[:, :1] + torch.arange(4))
    assert kept[:, 0].unique().tolist() == [0, 1, 2]
    assert torch.equal(kept, read.keypoints_2d[..., 0, 0])


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_a_host_of_clips_trains_with_it_and_goes_on_from_a_checkpoint(update, tmp_path):
    mocap = SyntheticMocap(subjects=3, clips_per_subject=1, frames=27)
    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger"), False)
    config = SealConfig(
        energies=[EnergyTerm(ClipLossNet, name="clips"), EnergyTerm(StructureLossNet, name="frames")],
        frames_per_clip=5,
        update=update,
    )

    def fit(epochs, resumed=None):
        L.seed_everything(0, verbose=False)
        model = SealBackbone(MixSTE.tiny(frames=9), flip_augmentation=False, seal=config)  # which draws at random
        trainer = L.Trainer(
            max_epochs=epochs,
            limit_train_batches=3,
            accelerator="cpu",
            default_root_dir=tmp_path,
            callbacks=[EnergyMonitor()],
            **quiet,
        )
        trainer.fit(model, MocapDataModule(synthetic=mocap, frames=9, batch_size=2), ckpt_path=resumed)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return model, trainer

    fit(1)
    resumed, trainer = fit(2, str(tmp_path / "1.ckpt"))
    whole, _ = fit(2)
    assert all(value.isfinite() for value in trainer.callback_metrics.values())
    assert resumed.seal.stats["force_ratio"] > 0
    for one, other in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)
    again = SealBackbone.load_from_checkpoint(tmp_path / "2.ckpt", net=MixSTE.tiny(frames=9))
    assert type(again.seal.loss_nets["clips"]) is ClipLossNet
