"""Twenty steps of SEAL against the same steps written down with plain autograd, without a saving of any kind."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seal_lightning import EnergyTerm, ForceRatio, SealConfig, SealLoss, get_skeleton
from seal_lightning.loss_nets import StructureLossNet
from seal_lightning.objectives.penalties import DenoisingScore
from seal_lightning.training import _guard
from seal_lightning.training._guard import finite_with
from seal_lightning.training.optimization import LossNetOptimization

STEPS, BATCH, RATE, RATIO, NAN_AT = 20, 12, 0.02, 0.2, 7


class PlainStructure(torch.nn.Module):
    """`StructureLossNet`, bone by bone and with PyTorch's own activation."""

    def __init__(self, net):
        super().__init__()
        self.skeleton, self.linear, self.head = net.skeleton, net.layers[::2], net.head

    def forward(self, keypoints_2d, pose):
        names, parents = self.skeleton.names, self.skeleton.parents
        order = sorted(range(len(names)), key=names.__getitem__)
        children = [joint for joint in order if parents[joint] >= 0]
        bones = {joint: pose[:, joint] - pose[:, parents[joint]] for joint in children}
        length = {joint: bone.norm(dim=-1).clamp(min=1e-3) for joint, bone in bones.items()}
        left = sorted((self.skeleton.bones[pair[0]][0] for pair in self.skeleton.paired_bones), key=names.__getitem__)
        ratios = [10 * (length[joint].log() - length[self.skeleton.partners[joint]].log()) for joint in left]
        angles = [
            F.cosine_similarity(bones[joint], bones[parents[joint]], dim=-1, eps=0)
            for joint in children
            if parents[joint] in bones
        ]
        confidence = torch.ones(len(pose), 1)
        points = [torch.cat([keypoints_2d[:, joint], confidence], 1) for joint in order]
        columns = [
            torch.cat([bones[joint] for joint in children], 1),
            torch.stack([3 * length[joint].log() for joint in children], 1),
            torch.stack(ratios, 1),
            torch.stack(angles, 1),
            torch.cat(points, 1),
        ]
        features = torch.cat(columns, 1)
        for layer in self.linear:
            features = F.silu(layer(features))
        return self.head(features)


class Plain:
    """The default energy under SGD: one rank, nothing masked."""

    def __init__(self, criterion, skeleton):
        self.criterion, self.skeleton = criterion, skeleton
        self.net = PlainStructure(criterion.loss_nets["energy_0"])
        self.lengths, self.usual, self.draw = [], None, 1

    def unit(self):
        """The mean over all bones of all poses seen so far; none of them is four times as long as usual."""
        return torch.cat(self.lengths).mean()

    def framed(self, pose):
        return (pose - pose[:, self.skeleton.root_joints[0]][:, None]) / self.unit()

    def see(self, truth):
        if torch.isfinite(truth).all():
            child, parent = zip(*self.skeleton.bones, strict=True)
            self.lengths.append((truth[:, child] - truth[:, parent]).norm(dim=-1).flatten())

    def ranking_loss(self, prediction, truth, keypoints):
        """Classify truths and predictions; find the noise that was put on a truth from the slope there."""
        self.see(truth)
        truth, prediction = self.framed(truth), self.framed(prediction.detach())
        state = int(np.random.SeedSequence((0, 0, self.draw)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(state)
        self.draw += 1
        level = torch.rand((len(truth), 1, 1), generator=generator)
        noise = torch.randn(truth.shape, generator=generator)
        noise[:, self.skeleton.root_joints[0]] = 0
        sigma = 0.05 * 4**level
        noised = (truth + sigma * noise).requires_grad_()
        (slope,) = torch.autograd.grad(self.net(keypoints, noised).sum(), noised, create_graph=True)
        error = (sigma * slope - noise)[:, [j for j in range(17) if j != self.skeleton.root_joints[0]]]
        ranked = F.softplus(self.net(keypoints, truth)) + F.softplus(-self.net(keypoints, prediction))
        return (ranked + error.square().mean((1, 2))).mean()

    def energy_loss(self, prediction, keypoints, task_gradient):
        """Every sample's pull, brought to a share of the task's mean force; a weak one ten times as far at most."""
        leaf = prediction.detach().requires_grad_()
        energy = self.net(keypoints, self.framed(leaf))
        (pull,) = torch.autograd.grad(energy.sum(), leaf)
        force, length = task_gradient.flatten(1).norm(dim=1).mean(), pull.flatten(1).norm(dim=1)
        self.usual = length.mean() if self.usual is None else torch.lerp(self.usual, length.mean(), 0.01)
        factor = RATIO * force / torch.maximum(length, self.usual / 10)
        linear = (prediction - prediction.detach()) * factor[:, None, None] * pull
        return (factor * energy.detach()).sum() + linear.sum()


def batches():
    generator = torch.Generator().manual_seed(3)
    for step in range(STEPS):
        keypoints, truth = (
            torch.randn(BATCH, 17, 2, generator=generator),
            torch.randn(BATCH, 17, 3, generator=generator),
        )
        if step == NAN_AT:
            truth[4, 2, 1] = torch.nan
        yield keypoints, truth


def parts(skeleton):
    sgd = partial(torch.optim.SGD, lr=RATE)
    term = EnergyTerm(StructureLossNet, weight=ForceRatio(RATIO), gradient_penalty=DenoisingScore(), optimizer=sgd)
    config = SealConfig(skeleton=skeleton, energies=[term])
    criterion = SealLoss(config.skeleton, config.terms())
    torch.manual_seed(5)
    host = torch.nn.Linear(34, 51)
    return criterion, LossNetOptimization(criterion, config), host, torch.optim.SGD(host.parameters(), lr=0.1)


def task(host, keypoints, truth):
    prediction = host(keypoints.flatten(1)).view(-1, 17, 3)
    loss = (prediction - truth.nan_to_num()).norm(dim=-1).mean()
    return prediction, loss, torch.autograd.grad(loss, prediction, retain_graph=True)[0]


def with_seal(skeleton):
    criterion, optimization, host, optimizer = parts(skeleton)
    values = []
    for keypoints, truth in batches():
        prediction, loss, gradient = task(host, keypoints, truth)
        ranking = criterion.ranking_loss(prediction, truth, keypoints)
        optimization.step(finite_with(ranking, loss, gradient))
        total = loss + criterion.energy_loss(prediction, keypoints, gradient)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(torch.stack([ranking.detach(), total.detach()]))
    assert int(optimization.guard.skipped) == 1
    return torch.stack(values), [*criterion.parameters()], [*host.parameters()]


def with_autograd(skeleton):
    criterion, _, host, optimizer = parts(skeleton)
    plain = Plain(criterion, get_skeleton(skeleton))
    learned = torch.optim.SGD(criterion.parameters(), lr=RATE)
    values = []
    for keypoints, truth in batches():
        prediction, loss, gradient = task(host, keypoints, truth)
        ranking = plain.ranking_loss(prediction, truth, keypoints)
        learned.zero_grad()
        if torch.isfinite(ranking):
            ranking.backward()
            learned.step()
        total = loss + plain.energy_loss(prediction, keypoints, gradient)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(torch.stack([ranking.detach(), total.detach()]))
    return torch.stack(values), [*criterion.parameters()], [*host.parameters()]


@pytest.mark.parametrize("skeleton", ["h36m17", "mpi_inf_3dhp17"])
@pytest.mark.parametrize("place", ["host", "device"])
def test_twenty_steps_are_those_of_plain_autograd(monkeypatch, place, skeleton):
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: place == "host")
    ours, theirs = with_seal(skeleton), with_autograd(skeleton)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-6, equal_nan=True)
    assert ours[0][:, 0].isnan().nonzero().flatten().tolist() == [NAN_AT]
    for learned, expected in zip(ours[1:], theirs[1:], strict=True):
        for left, right in zip(learned, expected, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6)
