"""`StructureMetrics` logs what NumPy finds in the validation poses, and changes no training."""

import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seal_lightning import SealConfig, SealMixin, get_skeleton
from seal_lightning.callbacks import StructureMetrics
from seal_lightning.functional import p_mpjpe
from tests import hosts

H36M = get_skeleton("h36m17")


class Host(hosts.ForwardHost):
    pass


class SealHost(SealMixin, Host):
    pass


class ClipHost(hosts.SequenceHost):
    pass


class SealClipHost(SealMixin, ClipHost):
    pass


class Unreadable(Host):
    def validation_step(self, batch, batch_idx):
        return None


class SealUnreadable(SealMixin, Unreadable):
    pass


def bones(pose):
    """Lengths of all bones of poses (N, J, 3), by joint."""
    return {joint: np.linalg.norm(pose[:, joint] - pose[:, parent], axis=1) for joint, parent in H36M.bones}


def expected(prediction, target):
    """The scores of poses (N[, T], J, 3), pose by pose, in the unit of the poses."""
    frames = prediction.reshape(-1, 17, 3), target.reshape(-1, 17, 3)
    centred = [pose - pose[:, :1] for pose in frames]
    mine, true = map(bones, frames)
    left_right = [pair for pair in zip(H36M.left, H36M.right, strict=True) if pair[0] in mine and pair[1] in mine]
    lse = [200 * np.abs(mine[a] - mine[b]) / (mine[a] + mine[b]) / 2 for a, b in left_right]
    asymmetry = [np.abs((mine[a] - mine[b]) - (true[a] - true[b])) for a, b in left_right]
    scores = {
        "mpjpe": np.linalg.norm(centred[0] - centred[1], axis=-1).mean(),
        "p_mpjpe": float(p_mpjpe(*map(torch.from_numpy, frames))),
        "lse": np.mean(lse),
        "bsle": np.mean([100 * np.abs(mine[joint] - true[joint]) / true[joint] for joint in mine]),
        "asymmetry": np.mean(asymmetry),
    }
    if prediction.ndim == 4:
        second = [
            np.diff(pose.reshape(prediction.shape) - pose.reshape(prediction.shape)[..., :1, :], 2, axis=1)
            for pose in (prediction, target)
        ]
        scores["accel"] = np.linalg.norm(second[0] - second[1], axis=-1).mean()
    return scores


@pytest.mark.parametrize(("unit", "factor"), [("m", 1000.0), ("mm", 1.0)])
@pytest.mark.parametrize("model", [Host, SealHost, ClipHost, SealClipHost])
def test_values(make_trainer, model, unit, factor):
    host = model()
    loader = model.loader(shuffle=False, batch_size=20)  # the last batch is smaller than the others
    trainer = make_trainer(callbacks=[StructureMetrics(unit=unit, skeleton="h36m17")])
    trainer.validate(host, loader, verbose=False)
    data = loader.dataset
    with torch.no_grad():
        prediction = host.eval()(data.x)
    scores = expected(prediction.double().numpy(), data.y.double().numpy())
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    assert logged.keys() == {f"val/{name}" for name in scores}
    for name, value in scores.items():
        lengths = 1.0 if name in ("lse", "bsle") else factor
        assert logged[f"val/{name}"] == pytest.approx(lengths * value, rel=1e-4), name


def test_a_pose_that_is_a_tenth_too_large(make_trainer):
    class Larger(Host):
        def validation_step(self, batch, batch_idx):
            x, y = batch
            self.log("val_loss", hosts.distance(self.net(x).view(-1, 17, 3) * 0.0 + 1.1 * y, y))

    def validated(bound):
        trainer = make_trainer(callbacks=[StructureMetrics(unit="m", skeleton="h36m17", mpjpe_bound=bound)])
        trainer.validate(Larger(), Larger.loader(), verbose=False)
        return {name: float(value) for name, value in trainer.callback_metrics.items()}

    logged = validated(None)
    assert logged["val/bsle"] == pytest.approx(10.0, rel=1e-4)
    assert logged["val/p_mpjpe"] == pytest.approx(0.0, abs=1e-2)
    assert "val/bounded_bsle" not in logged
    assert validated(logged["val/mpjpe"] * 1.01)["val/bounded_bsle"] == pytest.approx(10.0, rel=1e-4)
    assert validated(logged["val/mpjpe"] / 1.05)["val/bounded_bsle"] == pytest.approx(15.0, rel=1e-3)


@pytest.mark.parametrize("model", [Host, SealHost])
def test_the_training_is_the_same_bit_for_bit(make_trainer, model):
    weights = []
    for callbacks in ([], [StructureMetrics(unit="m", skeleton="h36m17")]):
        torch.manual_seed(3)
        host = model()
        trainer = make_trainer(callbacks=callbacks)
        trainer.fit(host, model.loader(), model.loader(seed=1))
        weights.append([*host.state_dict().values(), torch.get_rng_state()])
    assert all(map(torch.equal, *weights))
    assert "val/lse" in trainer.callback_metrics


def test_curves_are_in_tensorboard_after_a_fit(make_trainer, tmp_path):
    logger = TensorBoardLogger(tmp_path)
    trainer = make_trainer(logger=logger, callbacks=[StructureMetrics(unit="m")])
    trainer.fit(SealHost(seal=SealConfig(skeleton="h36m17")), SealHost.loader(), SealHost.loader(seed=1))
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    for name in ("mpjpe", "p_mpjpe", "lse", "bsle", "asymmetry"):
        assert [event.step for event in events.Scalars(f"val/{name}")] == [5, 11]


def test_a_test_has_its_own_names(make_trainer):
    class Tested(Host):
        test_step = Host.validation_step

    trainer = make_trainer(callbacks=[StructureMetrics(unit="m", skeleton="h36m17")])
    trainer.test(Tested(), Tested.loader(), verbose=False)
    assert {name for name in trainer.callback_metrics if "/" in name} == {
        f"test/{name}" for name in ("mpjpe", "p_mpjpe", "lse", "bsle", "asymmetry")
    }


def test_samples_without_a_label_count_nowhere(make_trainer):
    class Labelled(SealHost):
        def seal_batch(self, batch, inputs, output):
            read = super().seal_batch(batch, inputs, output)
            labelled = torch.arange(len(read.prediction)) % 2 == 0
            target = torch.where(labelled[:, None, None], read.target, torch.nan)
            return type(read)(read.keypoints_2d, read.prediction, target, labelled=labelled)

    trainer = make_trainer(callbacks=[StructureMetrics(unit="mm")])
    host, loader = Labelled(), Labelled.loader(shuffle=False, batch_size=96)
    trainer.validate(host, loader, verbose=False)
    data = loader.dataset
    with torch.no_grad():
        prediction = host.eval()(data.x)[::2]
    scores = expected(prediction.double().numpy(), data.y[::2].double().numpy())
    assert float(trainer.callback_metrics["val/bsle"]) == pytest.approx(scores["bsle"], rel=1e-4)


@pytest.mark.parametrize("model", [Unreadable, SealUnreadable])
def test_a_host_that_cannot_be_read_is_told_once_and_trains_on(make_trainer, model):
    trainer = make_trainer(callbacks=[StructureMetrics(unit="m", skeleton="h36m17")])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(model(), model.loader(), model.loader())
    told = [str(warning.message) for warning in caught if "StructureMetrics" in str(warning.message)]
    assert len(told) == 1
    assert told[0].startswith(
        f"Expected StructureMetrics to read the poses of {model.__name__}'s step, but could not. "
    )
    assert trainer.current_epoch == 2
    assert not [name for name in trainer.callback_metrics if name.startswith("val/")]


def test_names_that_the_host_logs_itself_are_left_to_it(make_trainer):
    class Own(Host):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            self.log("val/mpjpe", torch.tensor(7.0))

    trainer = make_trainer(callbacks=[StructureMetrics(unit="m", skeleton="h36m17")])
    with pytest.warns(UserWarning, match=r"^Own logs \['val/mpjpe'\] itself, and StructureMetrics leaves these names"):
        trainer.fit(Own(), Own.loader(), Own.loader())
    assert float(trainer.callback_metrics["val/mpjpe"]) == 7.0
    assert float(trainer.callback_metrics["val/bsle"]) > 0.0


def test_what_has_to_be_known_is_asked_for_before_the_training(make_trainer):
    for options, wanted in (({}, "skeleton"), ({"skeleton": "h36m17"}, "unit")):
        trainer = make_trainer(callbacks=[StructureMetrics(**options)], num_sanity_val_steps=0)
        with pytest.raises(ValueError, match=f"^Expected StructureMetrics to know the `{wanted}` of the poses"):
            trainer.fit(Host(), Host.loader(), Host.loader())
    with pytest.raises(ValueError, match="Expected `unit` to be 'm', 'mm' or None, but got 'cm'"):
        StructureMetrics(unit="cm")
    for bound in (0.0, -1.0, float("nan"), "50"):
        with pytest.raises(ValueError, match="Expected `mpjpe_bound` to be millimetres above zero, but got "):
            StructureMetrics(mpjpe_bound=bound)
