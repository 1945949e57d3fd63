"""`SealSummary` says once what SEAL does in a training, with figures that stand in the documentation."""

import re
from pathlib import Path

import pytest
import torch

from seal_lightning import EnergyTerm, ForceRatio, SealConfig, SealMixin
from seal_lightning.callbacks import SealSummary
from seal_lightning.callbacks.seal_summary import _MEASURED
from seal_lightning.loss_nets import GraphLossNet, KCSLossNet, StructureLossNet
from tests import hosts

ROOT = Path(__file__).resolve().parents[2]


class SealHost(SealMixin, hosts.ForwardHost):
    pass


def said(make_trainer, capsys, model, **options):
    make_trainer(callbacks=[SealSummary()], **options).fit(model, model.loader())
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("SEAL ")]


def test_the_default(make_trainer, capsys):
    reads, has, pulls, costs = said(make_trainer, capsys, SealHost(seal=SealConfig(warmup_steps=5)))
    net = StructureLossNet("h36m17")
    assert reads.startswith("SEAL reads: keypoints = batch[0]")
    assert has == f"SEAL has: loss-net StructureLossNet, {sum(p.numel() for p in net.parameters()):,} parameters"
    assert pulls == (
        "SEAL pulls: 0.1 times as hard as the model's own loss (ForceRatio), after 5 updates of the loss-nets (warm-up)"
    )
    assert costs.startswith("SEAL costs: a step takes 1.12 times as long beside a model of")


def test_several_energies_without_a_measured_cost(make_trainer, capsys):
    terms = [EnergyTerm(KCSLossNet, weight=0.001), EnergyTerm(KCSLossNet, weight=ForceRatio(0.0))]
    lines = said(make_trainer, capsys, SealHost(seal=SealConfig(energies=terms, every_n_steps=3)))
    assert [line.split(":")[0] for line in lines[1:]] == ["SEAL has"] * 2 + ["SEAL pulls"] * 2 + ["SEAL costs"]
    assert lines[3:] == [
        "SEAL pulls: by the gradient of 0.001 times the energy (fixed weight), from now on, in one of 3 updates of the "
        "model",
        "SEAL pulls: not at all, since the weight is 0, from now on, in one of 3 updates of the model",
        "SEAL costs: not measured for KCSLossNet",
    ]


def test_frozen_loss_nets(make_trainer, capsys, tmp_path):
    config = SealConfig(loss_net=lambda skeleton: GraphLossNet(skeleton, dim=8, depth=1, heads=2))
    torch.save(SealHost(seal=config).seal.state_dict(), tmp_path / "nets.pt")
    frozen = SealConfig(loss_net=config.loss_net, mode="static", checkpoint=tmp_path / "nets.pt")
    assert said(make_trainer, capsys, SealHost(seal=frozen))[1].startswith("SEAL has: frozen loss-net GraphLossNet, ")


def test_a_resume_past_the_warm_up_pulls_at_once(make_trainer, capsys, tmp_path):
    model = SealHost(seal=SealConfig(warmup_steps=3))
    trainer = make_trainer(max_epochs=1)
    trainer.fit(model, model.loader())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    capsys.readouterr()
    again = SealHost(seal=SealConfig(warmup_steps=3))
    make_trainer(callbacks=[SealSummary()]).fit(again, again.loader(), ckpt_path=tmp_path / "one.ckpt")
    assert (
        "SEAL pulls: 0.1 times as hard as the model's own loss (ForceRatio), from now on\n" in capsys.readouterr().out
    )


def test_a_plain_host_is_left_alone(make_trainer, capsys):
    assert said(make_trainer, capsys, hosts.ForwardHost()) == []


@pytest.mark.parametrize("net", sorted(_MEASURED))
def test_figures_are_those_of_the_documentation(net):
    documented = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    for figure in re.findall(r"\d+\.\d\d", _MEASURED[net]):
        assert re.search(rf"\| \**{re.escape(figure)}\** \|", documented), figure
