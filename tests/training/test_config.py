"""`SealConfig`: what it refuses, and that it survives YAML, the command line and a checkpoint."""

from collections.abc import Iterable
from functools import partial

import pytest
import torch
from jsonargparse import ArgumentParser

from seal_lightning import EnergyTerm, ForceRatio, SealConfig, Skeleton
from seal_lightning.loss_nets import GraphLossNet, KCSLossNet, MLPLossNet, StructureLossNet
from seal_lightning.negatives import BoneLengthNegatives, GaussianNegatives, PredictionNegatives
from seal_lightning.objectives import (
    R1,
    DenoisingScore,
    GradientPenalty,
    InterpolatedPenalty,
    LogisticObjective,
    MarginObjective,
    NCEObjective,
    NoObjective,
    WassersteinObjective,
)


def adam(parameters: Iterable) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=2e-4)


CONFIGS = {
    "defaults": SealConfig(),
    "weight": SealConfig(weight=0.001),
    "force": SealConfig(weight=ForceRatio(0.3, amplification=5.0)),
    "shorthand": SealConfig(
        skeleton="coco17",
        loss_net=partial(GraphLossNet, dim=32, depth=1, heads=2),
        objective=NCEObjective(temperature=0.5),
        negatives=[PredictionNegatives(), GaussianNegatives(std=0.2)],
        gradient_penalty=0.1,
        optimizer=partial(torch.optim.AdamW, lr=3e-4, betas=(0.5, 0.9)),
        warmup_steps=10,
        lr_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=7),
        gradient_clip_val=1.0,
        update="simultaneous",
        precision="bfloat16",
        frames_per_clip=3,
        seed=4,
    ),
    "energies": SealConfig(
        energies=[
            EnergyTerm(
                MLPLossNet, objective=MarginObjective(), negatives=(BoneLengthNegatives(),), weight=0.1, name="a"
            ),
            EnergyTerm(partial(MLPLossNet, hidden=8), gradient_penalty=0.5, optimizer=adam, name="b"),
        ]
    ),
    "critic": SealConfig(
        loss_net=partial(KCSLossNet, hidden=8),
        objective=WassersteinObjective(),
        gradient_penalty=InterpolatedPenalty(weight=5.0),
    ),
    "prior": SealConfig(
        energies=[
            EnergyTerm(MLPLossNet, NoObjective(), weight=0.0, gradient_penalty=DenoisingScore(low=0.1, high=0.3)),
            EnergyTerm(MLPLossNet, gradient_penalty=R1(0.2)),
        ]
    ),
    "skeleton": SealConfig(skeleton=Skeleton.from_parents([-1, 0, 0], left=[1], right=[2], root=[1, 2])),
    "static": SealConfig(mode="static", checkpoint="some.ckpt"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_plain_data_and_back(name, tmp_path):
    config = CONFIGS[name]
    torch.save(config.plain(), tmp_path / "plain.pt")
    again = SealConfig.of(torch.load(tmp_path / "plain.pt", weights_only=True))
    assert again.skeleton == config.skeleton
    assert again.weight == config.weight
    for mine, theirs in zip(config.terms(), again.terms(), strict=True):
        assert (mine.objective, mine.negatives, mine.weight) == (theirs.objective, theirs.negatives, theirs.weight)
        assert (mine.gradient_penalty, mine.name) == (theirs.gradient_penalty, theirs.name)
        nets = [term.loss_net(SealConfig.of(config).skeleton) for term in (mine, theirs)]
        assert type(nets[0]) is type(nets[1])
        assert [p.shape for p in nets[0].parameters()] == [p.shape for p in nets[1].parameters()]
        optimizers = [term.optimizer(net.parameters()) for term, net in zip((mine, theirs), nets, strict=True)]
        assert type(optimizers[0]) is type(optimizers[1])
        assert optimizers[0].defaults == optimizers[1].defaults
        if config.lr_scheduler is not None:
            schedules = [c.lr_scheduler(o) for c, o in zip((config, again), optimizers, strict=True)]
            assert schedules[0].state_dict() == schedules[1].state_dict()
    for field in (
        "warmup_steps",
        "gradient_clip_val",
        "update",
        "mode",
        "checkpoint",
        "precision",
        "frames_per_clip",
        "seed",
    ):
        assert getattr(again, field) == getattr(config, field)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_parser_dumps_it_reads(name):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--seal", type=SealConfig)
    parsed = parser.parse_object({"seal": CONFIGS[name].plain()})
    again = parser.parse_string(parser.dump(parsed))
    assert parser.dump(again) == parser.dump(parsed)


def test_the_command_line_reaches_every_corner():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--seal", type=SealConfig, default=SealConfig())
    arguments = [
        "--seal.loss_net=MLPLossNet",
        "--seal.loss_net.hidden=8",
        "--seal.objective=seal_lightning.objectives.MarginObjective",
        "--seal.objective.ratio=2.0",
        "--seal.weight=0.5",
        "--seal.optimizer=torch.optim.SGD",
        "--seal.optimizer.lr=0.3",
        "--seal.precision=bfloat16",
    ]
    config = parser.instantiate_classes(parser.parse_args(arguments)).seal
    (term,) = config.terms()
    assert term.objective == MarginObjective(ratio=2.0)
    assert term.weight == 0.5
    net = term.loss_net(Skeleton.from_parents([-1, 0]))
    assert isinstance(net, MLPLossNet)
    assert term.optimizer(net.parameters()).defaults["lr"] == 0.3


@pytest.mark.parametrize(
    ("arguments", "penalty"),
    [
        (["=0.3"], 0.3),
        (["=R1", ".weight=0.3"], R1(0.3)),
        (["=InterpolatedPenalty"], InterpolatedPenalty(10.0)),
        (["=seal_lightning.objectives.InterpolatedPenalty", ".weight=2"], InterpolatedPenalty(2.0)),
        (["={class_path: DenoisingScore, init_args: {low: 0.1, high: 0.1}}"], DenoisingScore(0.1, 0.1)),
        (["=DenoisingScore", ".low=0.02", ".weight=3"], DenoisingScore(low=0.02, weight=3.0)),
    ],
)
def test_gradient_penalties_on_the_command_line(arguments, penalty):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--seal", type=SealConfig, default=SealConfig())
    parsed = parser.parse_args([f"--seal.gradient_penalty{argument}" for argument in arguments])
    (term,) = parser.instantiate_classes(parsed).seal.terms()
    assert term.gradient_penalty == penalty
    again = parser.parse_string(parser.dump(parsed))
    assert parser.instantiate_classes(again).seal.gradient_penalty == penalty


def test_rivals_as_yaml():
    text = """
    seal:
      energies:
        - name: critic
          loss_net: {class_path: KCSLossNet, init_args: {hidden: 8}}
          objective: WassersteinObjective
          gradient_penalty: InterpolatedPenalty
        - name: prior
          loss_net: {class_path: MLPLossNet, init_args: {hidden: 8}}
          objective: {class_path: seal_lightning.objectives.NoObjective}
          gradient_penalty: {class_path: seal_lightning.objectives.DenoisingScore, init_args: {low: 0.02, high: 0.1}}
          weight: 0.0
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--seal", type=SealConfig)
    config = parser.instantiate_classes(parser.parse_string(text)).seal
    critic, prior = SealConfig.of(config.plain()).terms()
    assert isinstance(critic.loss_net("h36m17"), KCSLossNet)
    assert (critic.objective, critic.gradient_penalty) == (WassersteinObjective(), InterpolatedPenalty())
    assert (prior.objective, prior.gradient_penalty) == (NoObjective(), DenoisingScore(low=0.02, high=0.1))


class LocalPenalty(GradientPenalty):
    """One of a user's own, without fields."""

    def draw(self, truth, negative, skeleton, generator):
        return R1(1.0).draw(truth, negative, skeleton, generator)


def test_a_penalty_that_is_no_dataclass_leaves_its_reason():
    reason = SealConfig(gradient_penalty=LocalPenalty()).plain()
    assert "Expected `gradient_penalty` to be a class, a function" in reason


def test_default_energy_and_shorthand():
    (term,) = SealConfig(gradient_penalty=0.2).terms()
    assert isinstance(term.loss_net("h36m17"), StructureLossNet)
    assert term.objective == LogisticObjective()
    assert term.gradient_penalty == 0.2
    assert term.weight == ForceRatio(0.1)


@pytest.mark.parametrize("make", [lambda: lambda skeleton: None, lambda: partial(MLPLossNet, "h36m17")])
def test_a_factory_without_a_name_leaves_its_reason(make):
    reason = SealConfig(loss_net=make()).plain()
    assert isinstance(reason, str)
    with pytest.raises(ValueError, match="Expected `seal` to be given anew, since the checkpoint could not hold it"):
        SealConfig.of(reason)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"energies": [EnergyTerm(MLPLossNet)], "objective": NCEObjective()}, r"`energies` and \['objective'\]"),
        ({"energies": [EnergyTerm(MLPLossNet)], "weight": 0.2}, r"`energies` and \['weight'\]"),
        ({"energies": []}, "Expected `energies` to hold at least one term, but got none"),
        ({"skeleton": "nobody"}, "Expected `skeleton` to be one of"),
        ({"update": "never"}, "Expected `update` to be 'alternating' or 'simultaneous', but got 'never'"),
        ({"mode": "frozen"}, "Expected `mode` to be 'dynamic' or 'static', but got 'frozen'"),
        ({"mode": "static"}, "Expected a `checkpoint` to take the loss-nets from in static mode, but got None"),
        (
            {"mode": "static", "checkpoint": "x", "warmup_steps": 2},
            "Expected no `warmup_steps` in static mode, but got 2",
        ),
        ({"warmup_steps": -1}, "Expected `warmup_steps` to be at least 0, but got -1"),
        ({"frames_per_clip": 0}, "Expected `frames_per_clip` to be at least 1, but got 0"),
        ({"gradient_clip_val": -1.0}, "Expected `gradient_clip_val` to be at least 0, but got -1.0"),
        ({"seed": -3}, "Expected `seed` to be at least 0, but got -3"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        SealConfig(**arguments)


def unannotated(skeleton):
    return MLPLossNet(skeleton)


def test_a_factory_that_does_not_say_what_it_returns_cannot_be_read_back():
    with pytest.raises(
        ValueError, match=r"(?s)Expected `seal` to be given anew, since it cannot be read .*unannotated"
    ):
        SealConfig.of(SealConfig(loss_net=unannotated).plain())


def test_of_another_kind():
    with pytest.raises(TypeError, match="Expected `seal` to be a SealConfig, but got int"):
        SealConfig.of(3)


def test_the_name_of_a_skeleton_is_no_configuration():
    with pytest.raises(
        TypeError, match=r"^Expected `seal` to be a SealConfig, but got 'h36m17': SealConfig\(skeleton="
    ):
        SealConfig.of("h36m17")
