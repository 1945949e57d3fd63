"""`TemporalPairs`: energies of successive frames of a clip."""

from functools import partial

import lightning as L
import numpy as np
import pytest
import torch

from examples.backbones import MixSTE
from examples.seal_backbone import SealBackbone
from seal_lightning import EnergyTerm, SealConfig, SealLoss, get_skeleton
from seal_lightning.data import MocapDataModule, SyntheticMocap
from seal_lightning.loss_nets import GraphLossNet, MLPLossNet
from seal_lightning.negatives import BoneLengthNegatives, GaussianNegatives, PredictionNegatives
from seal_lightning.objectives.temporal import TemporalPairs
from tests.loss.energies import Height

PARENTS = get_skeleton("h36m17").parents


def clips(batch=3, frames=4, seed=0):
    """Clips that move a little from frame to frame, keypoints and predictions of them."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.05 * torch.randn(batch, frames, 17, 3, generator=generator)
    target = torch.randn(batch, 1, 17, 3, generator=generator) + noise
    prediction = target + 0.3 * torch.randn(batch, frames, 17, 3, generator=generator)
    return prediction.requires_grad_(), target, torch.randn(batch, frames, 17, 2, generator=generator)


def added(temporal, prediction, target, keypoints, negatives=None, **masks):
    """What the term adds to the ranking loss."""
    losses = []
    for term in (None, temporal):
        criterion = SealLoss("h36m17", [EnergyTerm(Height, temporal=term, negatives=negatives)])
        losses.append(criterion.ranking_loss(prediction, target, keypoints, **masks).detach())
    return (losses[1] - losses[0]).item()


def expected(temporal, poses, truth, visible, labelled):
    """The definition, frame by frame in NumPy."""
    bones = [
        np.linalg.norm(truth[b, t, j] - truth[b, t, p])
        for b in np.flatnonzero(labelled)
        for t in range(truth.shape[1])
        for j, p in enumerate(PARENTS)
        if p >= 0 and visible[b, t, j] and visible[b, t, p]
    ]
    framed = (poses - poses[:, :, :1]) / np.mean(bones)
    total, count = 0.0, 0
    for b in np.flatnonzero(labelled):
        for t in range(poses.shape[1]):
            count += visible[b, t, 0]
            if t == 0 or not (visible[b, t, 0] and visible[b, t - 1, 0]):
                continue
            energies = [(framed[b, s][visible[b, s]] ** 2).sum() for s in (t - 1, t)]
            both = visible[b, t] & visible[b, t - 1]
            moved = np.linalg.norm(framed[b, t] - framed[b, t - 1], axis=-1)[both].mean()
            total += max(0.0, abs(energies[1] - energies[0]) - temporal.kappa * moved)
    return temporal.weight * total / count


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temporal", [TemporalPairs(), TemporalPairs(weight=0.3, kappa=2.5), TemporalPairs(kappa=0)])
def test_it_is_what_it_says(temporal, masked):
    prediction, target, keypoints = clips()
    visible, labelled = np.ones((3, 4, 17), dtype=bool), np.ones(3, dtype=bool)
    masks = {}
    if masked:
        visible = np.random.default_rng(0).random((3, 4, 17)) < 0.7
        visible[0, 1, 0], visible[2, :, 0], labelled[1] = False, True, False
        masks = {"visibility": torch.from_numpy(visible), "labelled": torch.from_numpy(labelled)}
        target = torch.where(torch.from_numpy(labelled)[:, None, None, None], target, torch.nan)
    truth = np.nan_to_num(target.numpy())
    parts = [expected(temporal, poses, truth, visible, labelled) for poses in (truth, prediction.detach().numpy())]
    assert min(parts) > 0
    assert added(temporal, prediction, target, keypoints, **masks) == pytest.approx(sum(parts), rel=1e-3)
    damaged = (BoneLengthNegatives(),)  # frames that are damaged one by one are no clip
    assert added(temporal, prediction, target, keypoints, damaged, **masks) == pytest.approx(parts[0], rel=1e-3)
    later = (GaussianNegatives(), PredictionNegatives())
    assert added(temporal, prediction, target, keypoints, later, **masks) == pytest.approx(sum(parts), rel=1e-3)


def test_energies_that_follow_the_poses_are_free():
    prediction, target, keypoints = clips()
    assert added(TemporalPairs(kappa=1e6), prediction, target, keypoints) == 0
    still = target[:, :1].expand_as(target)
    assert added(TemporalPairs(kappa=0), still.clone().requires_grad_(), still, keypoints) == 0


def test_the_unit_of_the_poses_does_not_matter():
    prediction, target, keypoints = clips()
    metres, millimetres = (
        added(TemporalPairs(), (scale * prediction).detach(), scale * target, keypoints) for scale in (1, 1000)
    )
    assert millimetres == pytest.approx(metres, rel=1e-3)


def test_only_the_loss_net_pays():
    prediction, target, keypoints = clips()
    criterion = SealLoss("h36m17", [EnergyTerm(Height, temporal=TemporalPairs())])
    criterion.ranking_loss(prediction, target, keypoints).backward()
    assert prediction.grad is None
    assert criterion.loss_nets["energy_0"].scale.grad != 0


@pytest.mark.parametrize("negatives", [(GaussianNegatives(), PredictionNegatives()), (BoneLengthNegatives(),)])
def test_one_pass_equals_two(negatives):
    """Simultaneous updates give the gradients of two separate passes, to both nets, with the term as without."""
    net = partial(GraphLossNet, dim=16, depth=2, heads=2)
    term = EnergyTerm(net, negatives=negatives, gradient_penalty=0.3, temporal=TemporalPairs(weight=2.0, kappa=0.01))
    results = []
    for update in ("alternating", "simultaneous"):
        criterion = SealLoss("h36m17", [term], update=update)
        prediction, target, keypoints = clips()
        criterion.ranking_loss(prediction, target, keypoints).backward()
        learned = torch.cat([parameter.grad.flatten() for parameter in criterion.parameters()])
        pull = torch.autograd.grad(criterion(prediction, target, keypoints), prediction)[0]
        results.append((learned, pull))
    for separate, shared in zip(*results, strict=True):
        torch.testing.assert_close(shared, separate, rtol=2e-4, atol=3e-5 * float(separate.abs().max()))


def test_no_clips_at_all():
    prediction, target, keypoints = (tensor[:0] for tensor in clips())
    visible = torch.ones(0, 4, 17, dtype=torch.bool)
    criterion = SealLoss("h36m17", [EnergyTerm(Height, temporal=TemporalPairs())])
    assert criterion.ranking_loss(prediction, target, keypoints, visible) == 0


def test_poses_without_neighbours_are_refused():
    criterion = SealLoss("h36m17", [EnergyTerm(Height, name="mine", temporal=TemporalPairs())])
    prediction, target, keypoints = clips()
    for one in (slice(0, 1), 0):
        with pytest.raises(ValueError, match=r"at least two frames for the `temporal` term of \['mine'\], but got \("):
            criterion.ranking_loss(prediction[:, one], target[:, one], keypoints[:, one])
    with pytest.raises(ValueError, match="`frames_per_clip` to be at least 2 to go with `temporal`, but got 1"):
        SealConfig(frames_per_clip=1, temporal=TemporalPairs())


def test_energies_jump_less():
    """A loss-net that pays for jumps ends with fewer of them on clips it has not seen."""
    jumps = []
    for temporal in (None, TemporalPairs(weight=10.0, kappa=0.1)):
        criterion = SealLoss("h36m17", [EnergyTerm(partial(MLPLossNet, hidden=32, stages=1), temporal=temporal)])
        optimizer = torch.optim.Adam(criterion.parameters(), lr=3e-3)
        for step in range(60):
            prediction, target, keypoints = clips(seed=step)
            optimizer.zero_grad()
            criterion.ranking_loss(prediction, target, keypoints).backward()
            optimizer.step()
        _, target, keypoints = clips(batch=16, seed=1000)
        jumps.append(criterion.energy(target, keypoints)["energy_0"].diff(dim=1).abs().mean().item())
    assert jumps[1] < 0.5 * jumps[0]


@pytest.mark.parametrize("frames_per_clip", [None, 3])
def test_a_host_of_clips_trains_with_it(frames_per_clip):
    L.seed_everything(0, verbose=False)
    seal = SealConfig(temporal=TemporalPairs(), frames_per_clip=frames_per_clip)
    model = SealBackbone(MixSTE.tiny(frames=9), seal=seal)
    quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "logger"), False)
    trainer = L.Trainer(max_steps=3, limit_val_batches=0, accelerator="cpu", **quiet)
    mocap = SyntheticMocap(subjects=3, clips_per_subject=1, frames=27)
    trainer.fit(model, MocapDataModule(synthetic=mocap, frames=9, batch_size=4))
    assert all(value.isfinite() for value in model.seal.stats.values())
    assert model.seal.stats["force_ratio"] > 0
