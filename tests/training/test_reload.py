"""A SEAL model is saved and loaded wherever its plain host is, and each loads the other's checkpoint."""

import inspect
import pydoc
import sys
from argparse import Namespace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import lightning as L
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from seal_lightning import EnergyTerm, SealConfig, SealMixin
from seal_lightning.loss_nets import MLPLossNet, StructureLossNet
from seal_lightning.objectives import DenoisingScore, LogisticObjective
from tests.training.assets.make_checkpoint import loader

if TYPE_CHECKING:
    from collections import OrderedDict as Ordered


class Base(L.LightningModule):
    """A host without arguments."""

    def __init__(self):
        super().__init__()
        self.make()

    def make(self, hidden=4):
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, hidden), nn.Linear(hidden, 51), nn.Unflatten(1, (17, 3)))

    def training_step(self, batch, batch_idx):
        return (self.net(batch[0]) - batch[1]).norm(dim=-1).mean()

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Arguments(Base):
    """One that saves its arguments.

    Args:
        hidden: Width of its hidden layer.
        lr: Learning rate.
    """

    def __init__(self, hidden: "int" = 4, *, lr: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.make(hidden)


class OneDict(Base):
    def __init__(self, hparams):
        super().__init__()
        self.save_hyperparameters(hparams)
        self.make(self.hparams.hidden)


class Notes(Arguments):
    def __init__(self, hidden=4):
        super().__init__(hidden)
        self.save_hyperparameters({"commit": "a1b2", "when": {"year": 2024}})


class Gathering(Base):
    def __init__(self, lr=0.01, **net):
        super().__init__()
        self.save_hyperparameters()
        self.make(**net)


class Forwarding(Arguments):
    """Hands on what it does not know to a host that knows all of its arguments."""

    def __init__(self, scale: float = 1.0, **rest):
        super().__init__(**rest)
        self.save_hyperparameters()


class Ignoring(Base):
    def __init__(self, hidden=4, path="x", loss=None):
        super().__init__()
        self.save_hyperparameters(ignore=["path", "loss"])
        self.make(hidden)


class Unlogged(Base):
    def __init__(self, hidden=4):
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.make(hidden)


class Selecting(Base):
    def __init__(self, hidden=4, lr=0.01):
        super().__init__()
        self.save_hyperparameters("hidden")
        self.make(hidden)


class Typed(Base):
    def __init__(self, hidden: "int" = 4, more: "Ordered | None" = None):
        super().__init__()
        self.save_hyperparameters()
        self.make(hidden)


class PositionalOnly(Base):
    def __init__(self, hidden, /, lr=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.make(hidden)


HOSTS = {
    "no arguments, nothing saved": (Base, {}),
    "arguments": (Arguments, {"hidden": 5}),
    "a dict": (OneDict, {"hparams": {"hidden": 5, "net": {"depth": 2}}}),
    "a namespace": (OneDict, {"hparams": Namespace(hidden=5, lr=0.1)}),
    "notes that are no arguments": (Notes, {"hidden": 5}),
    "any keywords": (Gathering, {"lr": 0.2, "hidden": 5}),
    "keywords for a strict base": (Forwarding, {"scale": 2.0, "hidden": 5}),
    "some are ignored": (Ignoring, {"hidden": 5, "loss": torch.zeros(1)}),
    "not logged": (Unlogged, {"hidden": 5}),
    "one is selected": (Selecting, {"hidden": 5}),
    "annotated for a type checker": (Typed, {"hidden": 5}),
}
SEALED = {host: type(f"Seal{host.__name__}", (SealMixin, host), {}) for host, _ in HOSTS.values()}
SEALED[PositionalOnly] = type("SealPositionalOnly", (SealMixin, PositionalOnly), {})
CONFIG = SealConfig(loss_net=partial(MLPLossNet, hidden=8, stages=1), weight=0.3, optimizer=torch.optim.SGD, seed=5)


def saved(model, path, **changes):
    """Save a checkpoint as a trainer does, without a training."""
    trainer = L.Trainer(logger=False, accelerator="cpu", barebones=True)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, **changes}, path)
    return checkpoint


def same(one, other):
    state, wanted = one.state_dict(), other.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], value) for name, value in wanted.items() if isinstance(value, torch.Tensor))


@pytest.fixture(params=HOSTS)
def style(request):
    return HOSTS[request.param]


def test_a_model_and_its_host_load_each_others_checkpoints(style, tmp_path):
    host, arguments = style
    plain, model = host(**arguments), SEALED[host](**arguments, seal=CONFIG)
    theirs, ours = saved(plain, tmp_path / "plain.ckpt"), saved(model, tmp_path / "seal.ckpt")
    assert {key: value for key, value in ours.items() if key not in ("seal", "state_dict")} == {
        key: value for key, value in theirs.items() if key != "state_dict"
    }
    wanted = host.load_from_checkpoint(tmp_path / "plain.ckpt").hparams
    for loaded in (
        host.load_from_checkpoint(tmp_path / "seal.ckpt"),
        SEALED[host].load_from_checkpoint(tmp_path / "seal.ckpt"),
    ):
        same(loaded, model)
        assert {name: value for name, value in loaded.hparams.items() if name != "seal"} == wanted
    same(loaded.seal, model.seal)
    assert loaded._seal_config.plain() == CONFIG.plain()
    with pytest.warns(UserWarning, match="has no entry `seal`"):
        same(SEALED[host].load_from_checkpoint(tmp_path / "plain.ckpt"), plain)


def test_settings_that_are_given_go_over_those_in_the_file(style, tmp_path):
    host, arguments = style
    saved(SEALED[host](**arguments, seal=CONFIG), tmp_path / "seal.ckpt")
    asked = SealConfig(loss_net=CONFIG.loss_net, weight=0.7)
    loaded = SEALED[host].load_from_checkpoint(tmp_path / "seal.ckpt", seal=asked)
    assert loaded.seal.energies["energy_0"].weight == 0.7
    other = SealConfig(loss_net=partial(MLPLossNet, hidden=9, stages=1))
    with pytest.raises(ValueError, match=r"(?s)`loss_net` is .*'hidden': 9.* and was .*'hidden': 8.*, `weight` is"):
        SEALED[host].load_from_checkpoint(tmp_path / "seal.ckpt", seal=other)


def test_an_argument_that_a_host_no_longer_has(tmp_path):
    changes = {"hyper_parameters": {"hidden": 5, "lr": 0.1, "removed": "x", "seal": CONFIG.plain()}}
    saved(SEALED[Arguments](5, seal=CONFIG), tmp_path / "seal.ckpt", **changes)
    for cls in (Arguments, SEALED[Arguments]):
        assert cls.load_from_checkpoint(tmp_path / "seal.ckpt").hparams.lr == 0.1


def test_a_file_of_hyperparameters(tmp_path):
    saved(SEALED[Arguments](5, seal=CONFIG), tmp_path / "seal.ckpt")
    path, other = tmp_path / "hparams.yaml", SealConfig(loss_net=CONFIG.loss_net, weight=0.7)
    for seal, weight in (({}, 0.3), ({"seal": other.plain()}, 0.7)):
        path.write_text(yaml.safe_dump({"hidden": 5, "lr": 0.5, **seal}))
        loaded = SEALED[Arguments].load_from_checkpoint(tmp_path / "seal.ckpt", hparams_file=path)
        assert loaded.hparams.lr == 0.5
        assert loaded.seal.energies["energy_0"].weight == weight


def test_modules_as_hyperparameters(tmp_path):
    """They are pickled with the checkpoint, which Lightning then reads whole if it is told to."""

    class Module(Base):
        def __init__(self, head: nn.Module):
            super().__init__()
            self.save_hyperparameters()
            self.head = head

    trainer = L.Trainer(logger=False, accelerator="cpu", barebones=True)
    with pytest.warns(UserWarning, match="is an instance of `nn.Module`"):
        trainer.strategy.connect(type("SealModule", (SealMixin, Module), {})(nn.Linear(2, 2), seal=CONFIG))
    trainer.save_checkpoint(tmp_path / "seal.ckpt")
    for cls in (Module, type("SealModule", (SealMixin, Module), {})):
        loaded = cls.load_from_checkpoint(tmp_path / "seal.ckpt", weights_only=False)
        assert isinstance(loaded.head, nn.Linear)
    assert loaded._seal_config.plain() == CONFIG.plain()


def test_the_plain_class_of_a_host_that_gathers_keywords_is_named_where_the_command_line_wrote_the_file(
    tmp_path, monkeypatch
):
    """Lightning makes the class that the file names, and that is the SEAL class unless another is asked for."""
    seal_class, path = SEALED[Gathering], tmp_path / "by_command.ckpt"
    monkeypatch.setattr(sys.modules[__name__], "SealGathering", seal_class, raising=False)
    checkpoint = saved(seal_class(hidden=5, seal=CONFIG), path)
    by_command = {
        "_class_path": f"{__name__}.SealGathering",
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
    }
    checkpoint["hyper_parameters"] |= by_command
    torch.save(checkpoint, path)
    assert type(Gathering.load_from_checkpoint(path)) is seal_class
    plain = Gathering.load_from_checkpoint(path, _class_path=f"{__name__}.Gathering")
    assert type(plain) is Gathering
    same(plain, seal_class.load_from_checkpoint(path))


def test_what_the_host_cannot_load_its_subclass_cannot(tmp_path):
    for cls, more in ((PositionalOnly, {}), (SEALED[PositionalOnly], {"seal": CONFIG})):
        saved(cls(5, **more), tmp_path / "some.ckpt")
        with pytest.raises(TypeError, match="positional-only arguments passed as keyword"):
            cls.load_from_checkpoint(tmp_path / "some.ckpt")


# Subclasses with a constructor of their own.
class Renamed(SEALED[Arguments]):
    def __init__(self, width: int = 4, settings: SealConfig | None = None):
        super().__init__(width, seal=settings)
        self.save_hyperparameters()
        self.joints = self.seal.skeleton.num_joints


class Fixed(SEALED[Arguments]):
    def __init__(self, hidden: int = 4):
        super().__init__(hidden, seal=SealConfig(loss_net=CONFIG.loss_net, weight=0.2))


class Defaulting(SEALED[Arguments]):
    def __init__(self, hidden: int = 4, seal: SealConfig = SealConfig()):  # noqa: B008 - frozen
        super().__init__(hidden, seal=seal)


def test_subclasses_with_constructors_of_their_own(tmp_path):
    coco = SealConfig("coco17", loss_net=CONFIG.loss_net)
    for model in (Renamed(5, coco), Fixed(5), Defaulting(5, seal=coco)):
        saved(model, tmp_path / "seal.ckpt")
        loaded = type(model).load_from_checkpoint(tmp_path / "seal.ckpt")
        same(loaded, model)
        same(loaded.seal, model.seal)
        assert loaded._seal_config.plain() == model._seal_config.plain()
        assert loaded.seal.skeleton == model.seal.skeleton


def test_a_model_within_a_model_has_settings_of_its_own(tmp_path):
    class Student(Arguments):
        def __init__(self, hidden=4):
            super().__init__(hidden)
            object.__setattr__(self, "teacher", SEALED[Arguments](3))

    student = type("SealStudent", (SealMixin, Student), {})
    saved(student(5, seal=CONFIG), tmp_path / "seal.ckpt")
    loaded = student.load_from_checkpoint(tmp_path / "seal.ckpt")
    assert loaded._seal_config.plain() == CONFIG.plain()
    assert loaded.teacher._seal_config.plain() == SealConfig().plain()


# What help, editors, Lightning and parsers are told.
def test_the_signature_is_the_hosts_and_seal(style):
    host, _ = style
    theirs, ours = inspect.signature(host).parameters, dict(inspect.signature(SEALED[host]).parameters)
    assert ours.pop("seal").kind is inspect.Parameter.KEYWORD_ONLY
    assert [(one.name, one.kind, one.default) for one in ours.values()] == [
        (one.name, one.kind, one.default) for one in theirs.values()
    ]
    help = pydoc.render_doc(SEALED[host], renderer=pydoc.plaintext).split("\n")
    shown = next(line for line in help if f"  {SEALED[host].__name__}(" in line)
    assert all(name in shown for name in (*theirs, "seal"))


@pytest.mark.parametrize("host", [Arguments, Forwarding, Typed])
def test_a_parser_finds_the_same_arguments_as_with_the_host(host):
    def found(cls):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls, "model", fail_untyped=False)
        help = {action.dest: action.help for action in parser._actions}
        return {name: text for name, text in help.items() if name.startswith("model.") and ".seal" not in name}, parser

    (theirs, _), (ours, parser) = found(host), found(SEALED[host])
    assert ours == theirs
    model = parser.instantiate_classes(parser.parse_args(["--model.hidden=7", "--model.seal.weight=0.5"])).model
    assert model.net[1].out_features == 7
    assert model.seal.energies["energy_0"].weight == 0.5


# What is written for people and loggers.
def test_hyperparameters_are_plain_and_hold_what_was_left_to_defaults(make_trainer, tmp_path):
    class Late(SEALED[Arguments]):
        def __init__(self, width: int = 4, **rest):
            super().__init__(**rest)
            self.save_hyperparameters()

    for cls, seal in ((SEALED[Arguments], None), (Late, SealConfig(weight=0.2))):
        logger = CSVLogger(tmp_path, name=cls.__name__)
        make_trainer(max_steps=1, logger=logger).fit(cls(seal=seal), loader())
        (path,) = (tmp_path / cls.__name__).rglob("hparams.yaml")
        settings = yaml.safe_load(path.read_text())["seal"]
        assert settings.pop("version") == version("seal_lightning")
        assert settings == SealConfig.of(seal).plain()
        net, penalty, optimizer = settings["loss_net"], settings["gradient_penalty"], settings["optimizer"]
        sizes = {name: one.default for name, one in inspect.signature(StructureLossNet).parameters.items()}
        assert net["init_args"] == {name: sizes[name] for name in ("hidden", "depth")}
        assert penalty["init_args"] == vars(DenoisingScore())
        assert optimizer["init_args"] == {"lr": 1e-3, "betas": [0.5, 0.9]}
        assert settings["objective"]["class_path"] == f"seal_lightning.objectives.{LogisticObjective.__name__}"
        assert settings["negatives"] == [
            {"class_path": "seal_lightning.negatives.PredictionNegatives", "init_args": {"eval": False}}
        ]


def test_a_setting_that_is_gone_is_ignored_where_it_was_not_in_use():
    used = {"weight": 1.0, "kappa": 1.0}
    one, several = SealConfig().plain(), SealConfig(energies=[EnergyTerm(MLPLossNet)]).plain()
    assert SealConfig.of({**one, "temporal": None}).plain() == one
    (term,) = several["energies"]
    assert SealConfig.of({**several, "energies": [{**term, "temporal": None}]}).plain() == several
    for settings in ({**one, "temporal": used}, {**several, "energies": [{**term, "temporal": used}]}):
        with pytest.raises(ValueError, match="TemporalPairs are no longer there: a `ClipLossNet`"):
            SealConfig.of(settings)


def test_energies_are_written_out_and_the_fields_of_a_single_one_left_out():
    plain = SealConfig(energies=[EnergyTerm(MLPLossNet), EnergyTerm(MLPLossNet, weight=0.5)]).plain()
    assert not {"loss_net", "objective", "negatives", "weight", "gradient_penalty", "optimizer"} & {*plain}
    first, second = plain["energies"]
    assert (first["weight"], second["weight"]) == ({"ratio": 0.1, "amplification": 10.0}, 0.5)
    assert first["loss_net"]["init_args"] == {"hidden": 1024, "stages": 2, "dropout": 0.0}
    assert SealConfig.of(plain).plain() == plain
