"""A missing joint changes nothing else: neither the host's loss, nor energies and their training, nor metrics."""

import copy
import inspect
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from examples.backbones import LitLifter as BackboneLifter
from examples.backbones import MixSTE, SimpleBaseline, VideoPose3D
from examples.plain_lifter import LitLifter
from seal_lightning import EnergyTerm, SealConfig, SealMixin, get_skeleton
from seal_lightning.callbacks import EnergyMonitor
from seal_lightning.evaluation.scoring import PoseScorer
from seal_lightning.loss_nets import GraphLossNet, KCSLossNet, LossNet, MLPLossNet, StructureLossNet
from seal_lightning.metrics import PoseMetrics
from seal_lightning.negatives import (
    AsymmetryNegatives,
    BoneDirectionNegatives,
    BoneLengthNegatives,
    GaussianNegatives,
    InterpolationNegatives,
    OtherPoseNegatives,
    PredictionNegatives,
)
from seal_lightning.objectives.penalties import R1, DenoisingScore

H36M = get_skeleton("h36m17")
ALL_NEGATIVES = (
    *(PredictionNegatives(), BoneLengthNegatives(), BoneDirectionNegatives(), GaussianNegatives()),
    *(AsymmetryNegatives(), OtherPoseNegatives(), InterpolationNegatives()),
)
TERMS = {
    "default": None,
    "graph": [EnergyTerm(partial(GraphLossNet, dim=8, depth=1, heads=2), negatives=ALL_NEGATIVES)],
    "kcs": [EnergyTerm(KCSLossNet, negatives=ALL_NEGATIVES, gradient_penalty=R1(0.1), weight=0.5)],
    "several": [
        EnergyTerm(partial(MLPLossNet, hidden=8), gradient_penalty=DenoisingScore()),
        EnergyTerm(partial(StructureLossNet, hidden=8), negatives=ALL_NEGATIVES),
    ],
}
FILLERS = {"noise": 3.25, "far": 1e6, "nan": float("nan"), "infinity": float("inf")}


class SealLifter(SealMixin, LitLifter):
    pass


class SealBackbone(SealMixin, BackboneLifter):
    pass


def tiny(backbone):
    window = {"frames": 5} if "frames" in inspect.signature(backbone.tiny).parameters else {}
    return backbone.tiny(channels=3, **window)


HOSTS = {
    "plain": (None, lambda seal: SealLifter(channels=3, hidden=8, dropout=0.2, seal=seal)),
    "plain on windows": (5, lambda seal: SealLifter(channels=3, hidden=8, dropout=0.2, seal=seal)),
    **{
        backbone.__name__: (5, lambda seal, backbone=backbone: SealBackbone(tiny(backbone), flip_test=True, seal=seal))
        for backbone in (SimpleBaseline, VideoPose3D, MixSTE)
    },
}


def clean_batches(frames, count=3, size=6):
    """Batches of random poses with some joints masked; what stands there is zero."""
    generator = torch.Generator().manual_seed(7)
    shape = (size,) if frames is None else (size, frames)
    batches = []
    for _ in range(count):
        target = 0.3 * torch.randn(*shape, 17, 3, generator=generator)
        keypoints = torch.cat((target[..., :2], torch.rand(*shape, 17, 1, generator=generator)), dim=-1)
        visibility = torch.rand(*shape, 17, generator=generator) > 0.25
        visibility[0, ..., 0] = False  # a root is missing too
        visibility[1] = True
        hidden = ~visibility[..., None]
        batches.append(
            {
                "keypoints_2d": keypoints.masked_fill(hidden, 0.0),
                "target": target.masked_fill(hidden, 0.0),
                "visibility": visibility,
            }
        )
    return batches


def filled(batches, filler):
    def fill(batch, name):
        return batch[name].masked_fill(~batch["visibility"][..., None], filler)

    return [{**batch, **{name: fill(batch, name) for name in ("keypoints_2d", "target")}} for batch in batches]


def loader(batches):
    return torch.utils.data.DataLoader(batches, batch_size=None)


def run(name, terms, batches, make_trainer):
    """Everything that a training, a validation and a prediction leave behind."""
    torch.manual_seed(0)
    model = HOSTS[name][1](SealConfig(skeleton="h36m17", energies=TERMS[terms]))
    scorer = PoseScorer("m")
    trainer = make_trainer(max_epochs=1, callbacks=[EnergyMonitor(), scorer], num_sanity_val_steps=0)
    gradients = []

    def keep(*_):
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])

    model.on_after_backward = keep
    trainer.fit(model, loader(batches), loader(batches))
    left = {f"logged/{key}": value for key, value in trainer.callback_metrics.items()}
    left |= {f"host/{key}": value for key, value in model.state_dict().items()}
    left |= {f"seal/{key}": value for key, value in model.seal.state_dict().items() if isinstance(value, torch.Tensor)}
    left |= {f"gradient/{i}/{j}": g for i, step in enumerate(gradients) for j, g in enumerate(step)}
    left |= {f"score/{key}": torch.tensor(value) for key, value in scorer.scores()["all"].items()}
    left |= {f"pose/{i}": pose for i, pose in enumerate(trainer.predict(model, loader(batches)))}
    return left


def same_bits(one, other):
    return one.shape == other.shape and torch.equal(one.nan_to_num(nan=12345.0), other.nan_to_num(nan=12345.0))


@pytest.mark.parametrize(
    ("name", "terms"),
    [*((name, "default") for name in HOSTS), *(("plain", terms) for terms in TERMS if terms != "default")],
)
@pytest.mark.filterwarnings("ignore:The true poses' left and right bones differ", "ignore:.*EnergyMonitor.*")
def test_what_stands_in_a_missing_joint_changes_no_bit(name, terms, make_trainer):
    """Training, monitor, scores and predictions; NaN there reaches no gradient."""
    batches = clean_batches(HOSTS[name][0])
    expected = run(name, terms, batches, make_trainer)
    assert all(value.isfinite().all() for key, value in expected.items() if key.startswith(("host/", "gradient/")))
    assert any(key.startswith("gradient/2/") for key in expected)
    assert {"logged/seal/energy", "logged/seal/loss_net_loss", "logged/val_mpjpe", "score/mpjpe"} <= expected.keys()
    for filler in FILLERS.values():
        got = run(name, terms, filled(batches, filler), make_trainer)
        assert got.keys() == expected.keys()
        assert [key for key in expected if not same_bits(got[key], expected[key])] == []
    # and the masks are no ornament: the same values unmasked make another run
    unmasked = [{**batch, "visibility": torch.ones_like(batch["visibility"])} for batch in filled(batches, 3.25)]
    other = run(name, terms, unmasked, make_trainer)
    assert not same_bits(other["logged/train_loss"], expected["logged/train_loss"])
    assert not same_bits(other["logged/seal/energy"], expected["logged/seal/energy"])


@pytest.mark.parametrize("name", ["plain", "SimpleBaseline", "MixSTE"])
def test_a_batch_in_which_all_is_visible_is_one_without_a_mask(name, make_trainer):
    """Up to rounding: a mean is then a sum over a count."""
    batches = [{**batch, "visibility": torch.ones_like(batch["visibility"])} for batch in clean_batches(HOSTS[name][0])]
    bare = [{key: value for key, value in batch.items() if key != "visibility"} for batch in batches]
    make = HOSTS[name][1]
    results = []
    for given in (batches, bare):
        torch.manual_seed(0)
        model = make(SealConfig(skeleton="h36m17", energies=TERMS["several"]))
        make_trainer(max_steps=1, max_epochs=1).fit(model, loader(given[:1]))
        results.append({**model.state_dict(), **model.seal.state_dict()})
    for key, value in results[0].items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            torch.testing.assert_close(value, results[1][key], atol=3e-3, rtol=1e-2)


@pytest.mark.parametrize("name", ["plain", "plain on windows", "SimpleBaseline", "VideoPose3D", "MixSTE"])
def test_the_loss_of_the_host_is_the_mean_over_visible_joints(name, make_trainer):
    frames, make = HOSTS[name]
    (batch,) = filled(clean_batches(frames, count=1), float("nan"))
    model = make(SealConfig(skeleton="h36m17"))
    trainer = make_trainer(limit_val_batches=1)
    (logged,) = trainer.validate(model, loader([batch]), verbose=False)
    model.flip_predict = False  # of the hosts that have it: the loss is that of the network's own poses
    (poses,) = trainer.predict(model, loader([batch]))
    distances = []
    target, visibility = batch["target"].numpy(), batch["visibility"].numpy()
    if name == "VideoPose3D":
        target, visibility = target[:, 2], visibility[:, 2]
    for place in np.argwhere(visibility):
        distances.append(np.sqrt(((poses.numpy()[tuple(place)] - target[tuple(place)]) ** 2).sum()))
    assert logged["val_mpjpe"] == pytest.approx(np.mean(distances), rel=1e-5)
    clean = {**batch, "keypoints_2d": batch["keypoints_2d"].nan_to_num(0.0)}
    bare = {key: value for key, value in clean.items() if key != "visibility"}
    assert torch.equal(trainer.predict(model, loader([bare]))[0], poses)  # the network sees zeros


class Weighted(LossNet):
    """An energy that is a sum over joints, so that what it is without some of them can be told."""

    def __init__(self, skeleton):
        super().__init__(skeleton)
        self.pose = nn.Parameter(torch.randn(17, 3))
        self.keypoints = nn.Parameter(torch.randn(17, 3))

    def forward(self, keypoints_2d, pose):
        keypoints_2d, pose, leading = self.flatten(keypoints_2d, pose)
        return ((self.pose * pose).sum((1, 2)) + (self.keypoints * keypoints_2d).sum((1, 2))).reshape(leading)


def by_hand(batch, prediction, weights):
    """Ranking loss, mean energy of the predictions and its gradient, of the visible joints alone."""
    wy, wx = (weight.detach().double().numpy() for weight in (weights.pose, weights.keypoints))
    keypoints, target, prediction = (
        value.detach().double().numpy() for value in (batch["keypoints_2d"], batch["target"], prediction)
    )
    seen = [[joint for joint in range(17) if row[joint]] for row in batch["visibility"]]
    bones = [
        np.linalg.norm(pose[child] - pose[parent])
        for pose, joints in zip(target, seen, strict=True)
        for child, parent in H36M.bones
        if child in joints and parent in joints
    ]
    unit, losses, energies, gradient = np.mean(bones), [], [], np.zeros_like(prediction)
    for i, joints in enumerate(seen):
        if 0 not in joints:
            continue

        def energy(pose, i=i, joints=joints):
            return sum(wy[j] @ (pose[j] - pose[0]) / unit + wx[j] @ keypoints[i, j] for j in joints)

        energies.append(energy(prediction[i]))
        losses.append(np.logaddexp(0, energy(target[i])) + np.logaddexp(0, -energies[-1]))
        for joint in joints:
            gradient[i, joint] += wy[joint] / unit
            gradient[i, 0] -= wy[joint] / unit
    return np.mean(losses), np.sum(energies) / len(seen), gradient / len(seen)


def test_energies_are_those_of_the_visible_joints(make_trainer):
    """Energy, ranking loss and pull of masked poses against sums that never touch a masked joint."""
    (batch,) = filled(clean_batches(None, count=1), float("nan"))
    seal = SealConfig(skeleton="h36m17", energies=[EnergyTerm(Weighted, weight=0.3, optimizer=torch.optim.SGD)])
    read = {}

    class Watched(SealLifter):
        def seal_step(self, ranking_loss):
            read["ranking"] = ranking_loss.detach().clone()  # and no step: the weights stay those of the sums

    model = Watched(channels=3, hidden=8, dropout=0.0, seal=seal)
    weights = copy.deepcopy(model.seal.loss_nets["energy_0"])
    make_trainer(max_steps=1, max_epochs=1).fit(model, loader([batch]))
    captured = model.seal_captured
    ranking, energy, gradient = by_hand(batch, captured.prediction, weights)
    assert float(read["ranking"]) == pytest.approx(ranking, rel=1e-4)
    assert float(model.seal.stats["energy"]) == pytest.approx(energy, rel=1e-3)

    criterion = copy.deepcopy(model.seal)
    prediction = captured.prediction.clone().requires_grad_()
    added = criterion.energy_loss(
        prediction, batch["keypoints_2d"], torch.ones_like(prediction), visibility=batch["visibility"]
    )
    added.backward()
    np.testing.assert_allclose(prediction.grad.numpy(), 0.3 * gradient, atol=1e-5)


def test_metrics_are_those_of_the_visible_joints():
    (batch,) = filled(clean_batches(None, count=1, size=20), float("nan"))
    prediction = torch.randn(20, 17, 3)
    metrics = PoseMetrics(H36M, unit="m")
    metrics.update(
        prediction.masked_fill(~batch["visibility"][..., None], float("nan")), batch["target"], batch["visibility"]
    )
    got = metrics.compute()
    joints, hits, asymmetries = [], [], []
    pairs = list(zip(H36M.left, H36M.right, strict=True))
    for pose, truth, seen in zip(prediction.numpy(), batch["target"].numpy(), batch["visibility"].numpy(), strict=True):
        if seen[0]:  # without its root a pose cannot be compared
            error = (pose - pose[0]) - (truth - truth[0])
            distance = np.array([np.linalg.norm(error[j]) for j in range(17) if seen[j]])
            joints.append(distance.mean())
            hits.append(100 * (distance < 0.15).mean())
        relative = []
        for left, right in pairs:
            ends = (left, H36M.parents[left]), (right, H36M.parents[right])
            if all(seen[joint] for bone in ends for joint in bone):
                a, b = (np.linalg.norm(pose[child] - pose[parent]) for child, parent in ends)
                relative.append(100 * abs(a - b) / (a + b))
        if relative:
            asymmetries.append(np.mean(relative))
    assert float(got["mpjpe"]) == pytest.approx(np.mean(joints), rel=1e-5)
    assert float(got["pck"]) == pytest.approx(np.mean(hits), rel=1e-5)
    assert float(got["limb_symmetry_error"]) == pytest.approx(np.mean(asymmetries), rel=1e-5)
    assert all(value.isfinite() for name, value in got.items())


def test_unlabelled_samples_are_read_by_their_mask(make_trainer):
    """Their targets may be anything; without them the loss-nets learn the same."""

    class Host(LitLifter):
        def training_step(self, batch, batch_idx):
            error = (self(batch["keypoints_2d"]) - batch["target"])[batch["labelled"]]
            return error.norm(dim=-1).mean()

    class SealHost(SealMixin, Host):
        pass

    (clean,) = clean_batches(None, count=1)
    labelled = torch.tensor([True, True, False, True, False, True])
    learned = []
    for filler in (0.0, float("nan")):
        target = clean["target"].masked_fill(~labelled[:, None, None], filler)
        torch.manual_seed(0)
        model = SealHost(channels=3, hidden=8, seal=SealConfig(skeleton="h36m17", energies=TERMS["graph"]))
        batch = {"keypoints_2d": clean["keypoints_2d"], "target": target, "labelled": labelled}
        make_trainer(max_steps=2, max_epochs=1).fit(model, loader([batch, batch]))
        assert torch.equal(model.seal_captured.labelled, labelled)
        learned.append({**model.state_dict(), **model.seal.loss_nets.state_dict()})
    assert all(same_bits(learned[0][key].float(), learned[1][key].float()) for key in learned[0])
    assert all(value.isfinite().all() for value in learned[1].values())
