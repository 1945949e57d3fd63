"""A warm-up that outlasts the training is told, exactly where no step would feel an energy."""

import warnings

import pytest
import torch

from seal_lightning import SealConfig, SealMixin
from seal_lightning.training.warmup import lasting_warmup
from tests import hosts

TOLD = "^Expected `warmup_steps` to end within the training, but got {}, and the loss-nets take at most {} upd"


class SealHost(SealMixin, hosts.ForwardHost):
    pass


class SealManualHost(SealMixin, hosts.ManualHost):
    pass


def fit(trainer, config, model=SealHost, **options):
    """Train on six batches an epoch; whether the weight of the energy was ever set, and what was told."""
    host = model(seal=config)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(host, model.loader(), **options)
    told = [str(warning.message) for warning in caught if "`warmup_steps`" in str(warning.message)]
    return host, told


@pytest.mark.parametrize(
    ("options", "fields", "updates"),
    [
        ({"max_epochs": 2}, {}, 12),
        ({"max_epochs": 2, "limit_train_batches": 4}, {}, 8),
        ({"max_epochs": 5, "max_steps": 7}, {}, 7),
        ({"max_epochs": -1, "max_steps": 7}, {}, 7),
        ({"max_epochs": 2, "accumulate_grad_batches": 2}, {}, 12),
        ({"max_epochs": -1, "max_steps": 3, "accumulate_grad_batches": 2}, {}, 6),
        ({"max_epochs": 2}, {"every_n_steps": 5}, 3),
        ({"max_epochs": 2, "accumulate_grad_batches": 2}, {"every_n_steps": 2}, 6),
    ],
)
def test_it_is_told_to_the_update(make_trainer, options, fields, updates):
    host, told = fit(make_trainer(**options), SealConfig(warmup_steps=updates, **fields))
    assert host.seal.draws - 1 == updates
    assert "force_ratio" not in host.seal.stats or float(host.seal.stats["force_ratio"]) == 0.0
    assert len(told) == 1
    assert told[0].startswith(TOLD.format(updates, updates)[1:])
    host, told = fit(make_trainer(**options), SealConfig(warmup_steps=updates - 1, **fields))
    assert told == []
    assert float(host.seal.stats["force_ratio"]) > 0.0


def test_manual_optimization(make_trainer):
    assert len(fit(make_trainer(), SealConfig(warmup_steps=12), SealManualHost)[1]) == 1
    assert fit(make_trainer(), SealConfig(warmup_steps=11), SealManualHost)[1] == []


def test_no_training_and_no_known_end_are_left_in_peace(make_trainer):
    assert fit(make_trainer(fast_dev_run=True), SealConfig(warmup_steps=100))[1] == []
    endless = make_trainer(max_epochs=-1, max_time={"seconds": 1})
    assert fit(endless, SealConfig(warmup_steps=10**9))[1] == []


def test_a_resume_counts_what_the_loss_nets_have_done(make_trainer, tmp_path):
    config = SealConfig(warmup_steps=9)
    trainer = make_trainer(max_epochs=1)
    _, told = fit(trainer, config)
    assert len(told) == 1
    path = str(tmp_path / "one.ckpt")
    trainer.save_checkpoint(path)
    assert fit(make_trainer(max_epochs=2), config, ckpt_path=path)[1] == []  # 6 of 9, and 6 more to come
    past = make_trainer(max_epochs=2)
    fit(past, config, ckpt_path=path)
    past.save_checkpoint(path)
    assert fit(make_trainer(max_epochs=3), config, ckpt_path=path)[1] == []
    assert len(fit(make_trainer(max_epochs=3), SealConfig(warmup_steps=18), ckpt_path=path)[1]) == 1


def test_the_sentence_says_what_to_set(make_trainer):
    class Asked(SealHost):
        def on_train_start(self):
            self.told = lasting_warmup(self.trainer, SealConfig(warmup_steps=500))

    trainer = make_trainer(max_epochs=10)
    model = Asked()
    trainer.fit(model, model.loader())
    assert model.told.endswith(
        "but got 500, and the loss-nets take at most 60 updates: the model never feels an energy and trains as "
        "it would without SEAL. Set `warmup_steps` to a tenth of the updates, 6, or train longer."
    )
    assert torch.isfinite(model.seal.stats["energy"])
