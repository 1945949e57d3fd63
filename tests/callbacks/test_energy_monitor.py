"""What `EnergyMonitor` logs is what a loop over the validation data finds, and the training does not notice."""

import math
import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from seal_lightning import EnergyTerm, SealBatch, SealConfig, SealMixin, Skeleton, get_skeleton
from seal_lightning.callbacks import EnergyMonitor
from seal_lightning.loss_nets import GraphLossNet, LossNet, MLPLossNet, StructureLossNet
from tests import hosts

H36M = get_skeleton("h36m17")
GRAPH = partial(GraphLossNet, dim=16, depth=1, heads=2, dropout=0.3)
PREFIX = "seal/monitor/"


class SealHost(SealMixin, hosts.ForwardHost):
    pass


class SealSequenceHost(SealMixin, hosts.SequenceHost):
    pass


class PartlySeenHost(SealMixin, hosts.ForwardHost):
    """Every third sample without a label, every fifth joint invisible, sometimes the root too."""

    def seal_batch(self, batch, inputs, output):
        x, y = batch
        visibility = (x[..., 0] * 100).long() % 5 > 0
        labelled = torch.arange(len(x)) % 3 > 0
        return SealBatch(x, output, y.masked_fill(~visibility[..., None], torch.nan), visibility, labelled)


class UnlabelledHost(SealMixin, hosts.ForwardHost):
    def seal_batch(self, batch, inputs, output):
        x, y = batch
        return SealBatch(x, output, y if self.training else None)


def two_energies(weight=0.01):
    return SealConfig(
        energies=[
            EnergyTerm(GRAPH, weight=weight, name="graph"),
            EnergyTerm(partial(MLPLossNet, hidden=8, stages=1), name="mlp"),
        ]
    )


def monitored(values):
    return {name.removeprefix(PREFIX): float(value) for name, value in values.items() if name.startswith(PREFIX)}


def length(pose, bone):
    return np.sqrt(((pose[bone[0]] - pose[bone[1]]) ** 2).sum())


def mean_or_nan(values):
    return np.mean(values) if values else np.nan


def loop_errors(prediction, target, seen):
    """The four structural errors of one pose, the definitions written out."""
    bones = [bone for bone in H36M.bones if seen[list(bone)].all()]
    pairs = [[(joint, H36M.parents[joint]) for joint in pair] for pair in zip(H36M.left, H36M.right, strict=True)]
    pairs = [(left, right) for left, right in pairs if left in bones and right in bones]
    gap = [[length(pose, left) - length(pose, right) for left, right in pairs] for pose in (prediction, target)]
    both = [length(prediction, left) + length(prediction, right) for left, right in pairs]
    return {
        "limb_symmetry_error": mean_or_nan([100 * abs(d) / s for d, s in zip(gap[0], both, strict=True)]),
        "asymmetry_error": mean_or_nan([abs(d - t) for d, t in zip(*gap, strict=True)]),
        "body_segment_length_error": mean_or_nan(
            [100 * abs(length(prediction, bone) / length(target, bone) - 1) for bone in bones]
        ),
        "mpjpe": np.mean([length(np.stack([prediction[j], target[j]]), (0, 1)) for j in np.flatnonzero(seen)]),
    }


def loop_spearman(one, other):
    known = [i for i in range(len(one)) if not math.isnan(other[i])]
    places = [np.argsort(np.argsort(np.array(values)[known])) for values in (one, other)]  # no ties in these
    return np.corrcoef(*places)[0, 1]


def reference(model, name, poses):
    """The monitor's values for one energy, pose by pose, the loss-nets' frame made by hand.

    Poses are tuples of keypoints, prediction, target and visibility.
    """
    net, unit = model.seal.loss_nets[name].eval(), model.seal.frame.bone_length
    weight = model.seal.forces.weight[list(model.seal.energies).index(name)].item()
    true, predicted, alignment, pull, task, errors = [], [], [], [], [], []
    for x, prediction, target, seen in poses:
        shown = seen[:, None].float()
        x = torch.where(shown > 0, x, 0.0)

        def energy(pose, x=x, seen=seen, shown=shown):
            framed = (torch.where(seen[:, None], pose, 0.0) - pose[0]) / unit * shown
            return net(x[None], framed[None])[0]

        leaf = prediction.clone().requires_grad_()
        (slope,) = torch.autograd.grad(energy(leaf), leaf)
        way = torch.where(seen[:, None], target - prediction, 0.0)
        true.append(energy(target).item())
        predicted.append(energy(prediction).item())
        alignment.append((-(slope * way).sum() / slope.norm() / way.norm()).item())
        pull.append(slope.norm().item())
        task.append(
            1 / math.sqrt(seen.sum().item())
        )  # the gradient of a mean of distances: unit vectors over their number
        errors.append(loop_errors(prediction.numpy(), target.numpy(), seen.numpy()))
    values = {
        "energy_true": np.mean(true),
        "energy_prediction": np.mean(predicted),
        "ranking_accuracy": np.mean(np.array(true) < np.array(predicted)),
        "alignment": np.mean(alignment),
        "force_ratio": weight * np.sum(pull) / np.sum(task),
    }
    for error in errors[0]:
        values[f"spearman_{error}"] = loop_spearman(predicted, [of[error] for of in errors])
    return {f"{name}/{key}": value for key, value in values.items()}


def all_poses(model, loader):
    """Every validation pose that counts, read by hand."""
    model.eval()
    found = []
    for x, y in loader:
        with torch.no_grad():
            prediction = model(x)
        batch = SealBatch(x, prediction, y)
        if isinstance(model, PartlySeenHost):
            batch = model.seal_batch((x, y), None, prediction)
        for i in range(len(x)):
            if batch.labelled is not None and not batch.labelled[i]:
                continue
            frames = [()] if y.dim() == 3 else [(t,) for t in range(y.shape[1])]
            for frame in frames:
                index = (i, *frame)
                seen = torch.ones(17, dtype=torch.bool) if batch.visibility is None else batch.visibility[index]
                if seen[0]:
                    found.append((x[index], prediction[index], batch.target[index], seen))
    return found


def close(values, expected):
    assert values.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(values[key], value, rtol=2e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("kind", [SealHost, SealSequenceHost, PartlySeenHost])
@pytest.mark.parametrize("inference_mode", [True, False])
def test_against_a_loop(make_trainer, kind, inference_mode):
    model = kind(seal=two_energies())
    trainer = make_trainer(max_epochs=2, callbacks=[EnergyMonitor()], inference_mode=inference_mode)
    loader = kind.loader(count=41, shuffle=False, seed=1)  # the last batch is a short one
    trainer.fit(model, kind.loader(), loader)
    values = monitored(trainer.callback_metrics)
    poses = all_poses(model, loader)
    assert len(poses) == {SealHost: 41, SealSequenceHost: 205}.get(kind, len(poses))
    assert len(poses) > 15
    close(values, reference(model, "graph", poses) | reference(model, "mlp", poses))
    assert 0 < values["graph/force_ratio"] < 1
    assert all(math.isfinite(value) for value in values.values())


def test_it_reaches_the_logger_every_epoch(make_trainer, tmp_path):
    logger = CSVLogger(tmp_path, name="run", version=0)
    model = SealHost(seal=two_energies())
    make_trainer(max_epochs=3, logger=logger, callbacks=[EnergyMonitor()]).fit(model, model.loader(), model.loader())
    header, *lines = (tmp_path / "run" / "version_0" / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("seal/monitor/mlp/energy_true")
    assert len({line.split(",")[column] for line in lines} - {""}) == 3


class LengthLossNet(LossNet):
    """Knows the length of the left arm, and that shorter is better."""

    def __init__(self, skeleton):
        super().__init__(skeleton)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, keypoints_2d, pose):
        return self.scale * (pose[..., 12, :] - pose[..., 11, :]).norm(dim=-1)


class LongArmHost(SealHost):
    """Predicts the truth but for a left arm that is four times as long."""

    def seal_batch(self, batch, inputs, output):
        x, y = batch
        truth, prediction = y.clone(), y.clone()
        prediction[:, 12] += 3 * (y[:, 12] - y[:, 11])
        return SealBatch(x, (output - output.detach()) + prediction, truth)


def test_a_pull_that_leads_home(make_trainer):
    config = SealConfig(loss_net=LengthLossNet, optimizer=partial(torch.optim.SGD, lr=0.0), weight=0.25)
    model = LongArmHost(seal=config)
    trainer = make_trainer(max_epochs=1, callbacks=[EnergyMonitor()])
    trainer.fit(model, model.loader(), model.loader())
    values = monitored(trainer.callback_metrics)
    assert values["energy_0/ranking_accuracy"] == 1
    # The bone has two ends: half of the squared pull is on the one that is in place already.
    assert values["energy_0/alignment"] == pytest.approx(math.sqrt(0.5), abs=1e-5)
    assert values["energy_0/spearman_mpjpe"] == pytest.approx(1, abs=1e-3)
    assert values["energy_0/energy_prediction"] == pytest.approx(4 * values["energy_0/energy_true"], rel=1e-5)
    # Pull: sqrt(2) per unit length. Task: one joint of seventeen is off, so a unit vector over 17.
    expected = 0.25 * math.sqrt(2) / model.seal.frame.bone_length.item() * 17
    assert values["energy_0/force_ratio"] == pytest.approx(expected, rel=1e-4)


def test_the_training_does_not_notice(make_trainer):
    states = []
    for callbacks in ([], [EnergyMonitor()]):
        torch.manual_seed(0)
        model = SealHost(seal=two_energies())
        trainer = make_trainer(max_epochs=2, callbacks=callbacks, val_check_interval=2)
        trainer.fit(model, model.loader(), model.loader())
        states.append((model.state_dict(), model.seal.state_dict(), torch.get_rng_state()))
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_validation_alone_and_nothing_of_the_sanity_check(make_trainer):
    model, monitor = SealHost(seal=SealConfig(loss_net=StructureLossNet)), EnergyMonitor()
    trainer = make_trainer(max_epochs=1, callbacks=[monitor], limit_val_batches=0.5, num_sanity_val_steps=2)
    loader = model.loader(shuffle=False)
    trainer.fit(model, model.loader(), loader)
    fitted = monitored(trainer.callback_metrics)
    trainer.validate(model, loader, verbose=False)
    close(monitored(trainer.callback_metrics), fitted)
    close(fitted, reference(model, "energy_0", all_poses(model, list(loader)[:3])))


def test_a_model_without_seal_costs_one_warning(make_trainer):
    model = hosts.ForwardHost()
    trainer = make_trainer(max_epochs=2, callbacks=[EnergyMonitor()])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(model, model.loader(), model.loader())
    texts = [str(warning.message) for warning in caught if "EnergyMonitor" in str(warning.message)]
    assert texts == [
        "Expected the model of EnergyMonitor to be a SealMixin, but got ForwardHost: there is nothing to monitor."
    ]
    assert not monitored(trainer.callback_metrics)


def test_errors_that_a_skeleton_does_not_have_are_nan(make_trainer):
    skeleton = Skeleton(H36M.names, H36M.parents)
    model = SealHost(seal=SealConfig(skeleton=skeleton, loss_net=StructureLossNet))
    trainer = make_trainer(max_epochs=1, callbacks=[EnergyMonitor()])
    trainer.fit(model, model.loader(), model.loader())
    values = monitored(trainer.callback_metrics)
    missing = {name for name, value in values.items() if math.isnan(value)}
    assert missing == {"energy_0/spearman_limb_symmetry_error", "energy_0/spearman_asymmetry_error"}
    assert len(values) == 9


def test_no_target_is_an_error(make_trainer):
    model = UnlabelledHost()
    with pytest.raises(ValueError, match="Expected `seal_batch` to return a `target` in validation for EnergyMonitor"):
        make_trainer(callbacks=[EnergyMonitor()], num_sanity_val_steps=0).fit(model, model.loader(), model.loader())


def test_two_processes_log_what_one_does(tmp_path):
    script = Path(__file__).with_name("energy_monitor_ddp_run.py")
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("LOCAL_", "NODE_", "MASTER_", "WORLD_"))
    }
    options = {"env": env | {"OMP_NUM_THREADS": "1"}, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, str(script), str(tmp_path), str(n)], **options) for n in (1, 2)]
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
    one, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1_0", "2_0", "2_1"))
    assert len(one) == 9 + 5  # those of `StructureMetrics`, which are means over uneven batches too
    assert first == second
    for name, value in one.items():
        assert first[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
