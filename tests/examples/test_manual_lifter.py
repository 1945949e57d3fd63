"""The lifter with SEAL written out by hand trains to the weights that the mixin trains to; and what it loses."""

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from examples.manual_lifter import ManualLifter
from examples.plain_lifter import LitLifter
from seal_lightning import SealMixin
from seal_lightning.training._fused import fuse
from tests import hosts

SIZE = {"hidden": 32, "stages": 1}


class SealLifter(SealMixin, LitLifter):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class FusedLifter(ManualLifter):
    """The mixin lets the loss-net's Adam run fused, which is the same formula with other rounding errors."""

    def configure_optimizers(self):
        pose_optimizer, loss_net_optimizer = super().configure_optimizers()
        fuse(loss_net_optimizer)
        return [pose_optimizer, loss_net_optimizer]


def batches(count=5):
    poses = hosts.Poses(lambda x, y, i: {"keypoints_2d": x, "target": y}, count=16 * count)
    return DataLoader(poses, batch_size=16, shuffle=True)


def fit(make_trainer, cls, trainer=None, **kwargs):
    L.seed_everything(0, verbose=False)
    model = cls(**SIZE, **kwargs)
    fitting = make_trainer(**(trainer or {}))
    fitting.fit(model, batches())
    return model, fitting


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_by_hand_and_by_the_mixin_the_weights_are_the_same(make_trainer, dropout):
    by_hand, hand_trainer = fit(make_trainer, FusedLifter, dropout=dropout)
    by_mixin, mixin_trainer = fit(make_trainer, SealLifter, dropout=dropout)
    assert by_hand.net.state_dict().keys() == by_mixin.net.state_dict().keys()
    for key, value in by_mixin.net.state_dict().items():
        assert torch.equal(value, by_hand.net.state_dict()[key]), key
    for key, value in by_mixin.seal.state_dict().items():
        other = by_hand.criterion.state_dict()[key]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, key
    assert (mixin_trainer.global_step, hand_trainer.global_step) == (10, 20)
    assert mixin_trainer.callback_metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02)


def test_both_networks_move_and_the_energy_acts(make_trainer):
    plain, _ = fit(make_trainer, type("Plain", (LitLifter,), {"configure_optimizers": SealLifter.configure_optimizers}))
    by_hand, _ = fit(make_trainer, ManualLifter)
    start = ManualLifter(**SIZE)
    assert not torch.equal(plain.net.output.weight, by_hand.net.output.weight)
    pairs = zip(start.criterion.parameters(), by_hand.criterion.parameters(), strict=True)
    assert any(not torch.equal(before, after) for before, after in pairs)


def test_it_predicts_what_the_plain_lifter_does(make_trainer):
    by_hand, plain = ManualLifter(**SIZE), LitLifter(**SIZE)
    plain.net.load_state_dict(by_hand.net.state_dict())
    loader = DataLoader(list(batches(1)), batch_size=None)
    poses, expected = (make_trainer().predict(model, loader) for model in (by_hand.eval(), plain.eval()))
    assert len(poses) == 1
    assert torch.equal(poses[0], expected[0])


@pytest.mark.parametrize("option", [{"gradient_clip_val": 1.0}, {"accumulate_grad_batches": 2}], ids=str)
def test_the_trainer_refuses_clipping_and_accumulation(make_trainer, option):
    with pytest.raises(MisconfigurationException, match=r"not supported (for|with) manual optimization"):
        fit(make_trainer, ManualLifter, trainer=option)


def test_max_steps_are_reached_in_half_the_batches(make_trainer):
    by_hand, _ = fit(make_trainer, ManualLifter, trainer={"max_steps": 4, "max_epochs": -1})
    by_mixin, _ = fit(make_trainer, SealLifter, trainer={"max_steps": 4, "max_epochs": -1})
    assert by_hand.criterion.draws - 1 == 2
    assert by_mixin.seal.draws - 1 == 4


def test_schedulers_stand_still(make_trainer):
    class Scheduled(ManualLifter):
        def configure_optimizers(self):
            optimizers = super().configure_optimizers()
            return optimizers, [torch.optim.lr_scheduler.ExponentialLR(optimizers[0], 0.5)]

    _, trainer = fit(make_trainer, Scheduled)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-3


def test_its_checkpoint_does_not_fit_the_plain_lifter_and_the_mixins_does(make_trainer, tmp_path):
    for cls, fits in ((ManualLifter, False), (SealLifter, True)):
        _, trainer = fit(make_trainer, cls)
        trainer.save_checkpoint(tmp_path / "lifter.ckpt")
        state = torch.load(tmp_path / "lifter.ckpt", weights_only=True)["state_dict"]
        plain = LitLifter(**SIZE)
        if fits:
            plain.load_state_dict(state)
        else:
            with pytest.raises(RuntimeError, match="Unexpected key"):
                plain.load_state_dict(state)
