"""Trains a host alone and under SEAL at weight 0 and as it comes, on two processes; started by `test_ranks.py`."""

import os
import sys

import lightning as L
import torch

from seal_lightning import EnergyTerm, SealConfig
from seal_lightning.negatives import GaussianNegatives, PredictionNegatives
from tests import hosts
from tests.promises.twins import config, seal, small

RANK = int(os.environ.get("LOCAL_RANK", 0))


class DirectHost(hosts.FlatHost):
    """Calls its net from the step: flat poses out, a loss on them."""


def fit(cls, precision="32-true", **kwargs):
    L.seed_everything(0, verbose=False)
    model = cls(**kwargs)
    manual = issubclass(cls, hosts.ManualHost)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision=precision,
        max_epochs=2,
        gradient_clip_val=None if manual else 0.3,
        accumulate_grad_batches=1 if manual else 2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, cls.loader())
    state = {"host": dict(model.state_dict()), "steps": trainer.global_step, "random": torch.get_rng_state()}
    if "seal" in vars(model):
        state |= {"seal": list(model.seal.parameters()), "ratio": model.seal.stats["force_ratio"]}
    return state


if __name__ == "__main__":
    torch.set_num_threads(1)
    negatives = (PredictionNegatives(), GaussianNegatives())
    felt = SealConfig(energies=[EnergyTerm(small, negatives=negatives)])
    runs = {}
    for host, precision in ((hosts.ForwardHost, "32-true"), (DirectHost, "bf16-mixed"), (hosts.ManualHost, "32-true")):
        runs[host.__name__] = {
            "plain": fit(host, precision),
            "zero": fit(seal(host), precision, seal=config(weight=0.0)),
            "felt": fit(seal(host), precision, seal=felt),
        }
    torch.save(runs, f"{sys.argv[1]}/{RANK}.pt")
