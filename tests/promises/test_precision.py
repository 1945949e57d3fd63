"""Tests 1 and 6: in every precision the training is the host's, and clipping sees gradients without the loss scale."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from seal_lightning import EnergyTerm, SealConfig
from seal_lightning.negatives import BoneLengthNegatives, GaussianNegatives, PredictionNegatives
from tests import hosts
from tests.promises.twins import assert_energy_acts, same, seal, small, train, twins


class Clipping(hosts.ForwardHost):
    """Writes down the gradient's norm before and after clipping."""

    def __init__(self):
        super().__init__()
        self.norms = []

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        before = self.norm()
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        self.norms.append((before, self.norm()))

    def norm(self):
        return float(torch.stack([parameter.grad.norm() for parameter in self.parameters()]).norm())


def scaled(scale=2.0**12):
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return MixedPrecision("16-mixed", device="cpu", scaler=scaler)


PRECISIONS = {
    "16-mixed": lambda: {"plugins": [scaled()]},
    "bf16-mixed": lambda: {"precision": "bf16-mixed"},
    "bf16-true": lambda: {"precision": "bf16-true"},
    "64-true": lambda: {"precision": "64-true"},
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_01_weight_zero_is_the_host_in_every_precision(make_trainer, precision):
    def options():
        return PRECISIONS[precision]() | {"gradient_clip_val": 0.3, "accumulate_grad_batches": 2}

    _, _, felt = twins(make_trainer, Clipping, trainer=options)
    assert {parameter.dtype for parameter in felt.model.seal.parameters()} == {torch.float32}
    assert {buffer.dtype for buffer in felt.model.seal.buffers() if buffer.is_floating_point()} <= {
        torch.float32,
        torch.float64,
    }


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_01_random_negatives_do_not_follow_the_hosts_precision(make_trainer, precision):
    """Lightning makes the host's precision the default one within a step; what SEAL draws must not change with it."""
    negatives = (PredictionNegatives(), GaussianNegatives(), BoneLengthNegatives())
    seal_config = SealConfig(energies=[EnergyTerm(small, negatives=negatives)])
    plain = train(make_trainer, hosts.ForwardHost, trainer=lambda: {"precision": precision})
    felt = train(make_trainer, seal(hosts.ForwardHost), trainer=lambda: {"precision": precision}, seal=seal_config)
    assert_energy_acts(plain, felt)

    class Seen(GaussianNegatives):
        def __call__(self, truth, prediction, skeleton, generator):
            drawn.append(super().__call__(truth, prediction, skeleton, generator) - truth)
            return drawn[-1] + truth

    noise = []
    for chosen in (precision, "32-true"):
        drawn = []
        seen = SealConfig(energies=[EnergyTerm(small, negatives=(Seen(),))])
        train(
            make_trainer, seal(hosts.ForwardHost), trainer=lambda p=chosen: {"precision": p, "max_steps": 2}, seal=seen
        )
        noise.append(torch.stack(drawn))
    assert noise[0].dtype == noise[1].dtype == torch.float32
    torch.testing.assert_close(*noise, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_01_a_model_made_in_init_module_has_the_same_loss_nets(make_trainer, precision):
    """`Trainer.init_module` makes the host in its precision from the start; the loss-nets are made as ever."""
    trainer = make_trainer(precision=precision, max_steps=2)
    seal_host = seal(hosts.ForwardHost)
    with trainer.init_module():
        model = seal_host(seal=SealConfig(loss_net=small))
    usual = seal_host(seal=SealConfig(loss_net=small))
    assert same(list(usual.seal.parameters()), list(model.seal.parameters()))
    trainer.fit(model, model.loader())
    assert {parameter.dtype for parameter in model.seal.parameters()} == {torch.float32}


def test_06_the_norm_is_taken_after_unscaling(make_trainer):
    """Norms under the loss scale are those of a training in float32, and clipping bounds them."""

    def options():
        return {"plugins": [scaled(2.0**16)], "gradient_clip_val": 0.05, "max_steps": 6}

    def single():
        return {"gradient_clip_val": 0.05, "max_steps": 6}

    plain, _, felt = twins(make_trainer, Clipping, trainer=options)
    for run in (plain, felt):
        kwargs = {} if run is plain else {"seal": SealConfig(loss_net=small)}
        reference = train(make_trainer, type(run.model), trainer=single, **kwargs)
        before, after = zip(*run.model.norms, strict=True)
        assert min(before) > 0.05
        assert after == pytest.approx([0.05] * 6, rel=1e-3)
        assert before == pytest.approx([norm for norm, _ in reference.model.norms], rel=0.05)
        assert all(torch.isfinite(parameter).all() for parameter in run.model.parameters())


def test_06_a_step_that_overflows_is_skipped_as_the_hosts(make_trainer):
    """A loss scale that is too high costs the first steps and leaves nothing behind, in host and loss-net."""

    def options():
        return {"plugins": [scaled(2.0**32)], "gradient_clip_val": 0.5, "max_epochs": 4}

    plain, zero, felt = twins(make_trainer, Clipping, trainer=options)
    scales = [run.trainer.precision_plugin.scaler.get_scale() for run in (plain, zero, felt)]
    assert scales[0] == scales[1] < 2.0**32
    assert scales[2] < 2.0**32
    learned = [*felt.model.parameters(), *felt.model.seal.parameters(), *felt.model.seal.buffers()]
    assert all(torch.isfinite(tensor).all() for tensor in learned)
