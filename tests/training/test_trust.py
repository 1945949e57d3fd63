"""A stranger's checkpoint: what its settings name is of the kind that the field is for, or nothing is called."""

import io
import json
import sys
import warnings
from collections.abc import Callable, Sized
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from torch import nn

from seal_lightning import EnergyTerm, ForceRatio, SealConfig, SealMixin, Skeleton
from seal_lightning.cli import SealCLI
from seal_lightning.loss_nets import LossNet, MLPLossNet
from seal_lightning.objectives import MarginObjective, Objective
from seal_lightning.training._trust import ROOMS, find_factory
from tests.training.assets.make_checkpoint import SealTinyLifter, TinyLifter, configuration, loader, make

FACTORIES = ["loss_net", "optimizer", "lr_scheduler"]
INSTANCES = ["objective", "negatives", "gradient_penalty", "weight", "skeleton"]
FIELDS = [*FACTORIES, *INSTANCES, "energies"]
TERM_FIELDS = [name for name in FIELDS if name not in ("lr_scheduler", "skeleton", "energies")]
SMALL = {"class_path": "seal_lightning.loss_nets.MLPLossNet", "init_args": {"hidden": 8}}

# What a file might name, with arguments that leave a mark if it is called with them; {mark} is a path.
CALLS = {
    "os.system": {"command": "touch {mark}"},
    "posix.system": {"command": "touch {mark}"},
    "os.makedirs": {"name": "{mark}"},
    "os.mkdir": {"path": "{mark}"},
    "subprocess.Popen": {"args": ["touch", "{mark}"]},
    "subprocess.run": {"args": ["touch", "{mark}"]},
    "subprocess.check_output": {"args": ["touch", "{mark}"]},
    "builtins.eval": {},
    "builtins.exec": {},
    "builtins.open": {"file": "{mark}", "mode": "w"},
    "io.FileIO": {"file": "{mark}", "mode": "w"},
    "logging.FileHandler": {"filename": "{mark}"},
    "pathlib.Path": {},
    "torch.load": {"f": "{mark}"},
    "torch.hub.load": {"repo_or_dir": "{folder}", "model": "net", "source": "local"},
    "importlib.import_module": {"name": "leaves_a_mark"},
    "runpy.run_path": {"path_name": "{folder}/leaves_a_mark.py"},
    "webbrowser.open": {"url": "{mark}"},
    "operator.call": {},
    "functools.partial": {"func": "os.system"},
    "torch.nn.Linear": {"in_features": 1, "out_features": 1},
    "torch.serialization.os.makedirs": {"name": "{mark}"},
    "leaves_a_mark.Net": {},
    "leaves_a_mark": {},
    "lazy_here.Net": {},
    "lazy_here.Net.inner": {},
    "seal_lightning.nobody.Net": {},
    "seal_lightning.loss_nets.nobody.Net": {},
    "tests.training.test_trust.unannotated": {},
    "tests.training.test_trust.misleading": {},
    "tests.training.test_trust.quoted": {},
    "tests.training.test_trust.a_class": {},
    "tests.training.test_trust.Host": {},
    "seal_lightning.Skeleton.from_bvh": {"path": "{folder}/arm.bvh"},
    "os.system;touch {mark}": {},
}
MODULES = ("torch.nn.Linear", "tests.training.test_trust.Host")  # of torch, and of no field's kind
SPELLINGS = {
    "text": lambda path, arguments: path,
    "init_args": lambda path, arguments: {"class_path": path, "init_args": arguments},
    "dict_kwargs": lambda path, arguments: {"class_path": path, "dict_kwargs": arguments},
    "in init_args": lambda path, arguments: {
        "class_path": "tests.training.test_trust.Wrapping",
        "init_args": {"made": {"class_path": path, "init_args": arguments}},
    },
    "text in init_args": lambda path, arguments: {
        "class_path": "tests.training.test_trust.Wrapping",
        "init_args": {"made": path},
    },
}
MODULE = "from pathlib import Path\nPath({mark!r}).touch()\nclass Net: pass\n"


class Wrapping(MLPLossNet):
    """A loss-net that is handed a class."""

    def __init__(self, skeleton, made: type[nn.Module] = nn.ReLU, hidden: int = 8):
        super().__init__(skeleton, hidden=hidden)
        self.made = made


class Outer:
    class Inner(MLPLossNet):
        pass

    @classmethod
    def small(cls, skeleton) -> MLPLossNet:
        return MLPLossNet(skeleton, hidden=8)


def annotated(skeleton, hidden: int = 8) -> LossNet:
    return MLPLossNet(skeleton, hidden=hidden)


def in_quotes(skeleton) -> "MLPLossNet":
    return MLPLossNet(skeleton, hidden=8)


def unannotated(skeleton=None):
    raise RuntimeError("was called")


def misleading(skeleton=None) -> LossNet | Objective:
    raise RuntimeError("was called")


def quoted(skeleton=None) -> "__import__('os').system('true')":
    raise RuntimeError("was called")


def a_class(skeleton=None) -> type[LossNet]:
    raise RuntimeError("was called")


class Lazy(ModuleType):
    """A module that imports more when it is asked for a name, as `importlib.util.LazyLoader` does."""

    mark = None

    def __getattribute__(self, name):
        if name in ("Net", "__dict__"):  # `inspect` asks every module for its file
            Path(Lazy.mark).touch()
        return super().__getattribute__(name)


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A path that exists once anything of the file was called or imported."""
    mark, folder = tmp_path / "mark", tmp_path / "modules"
    folder.mkdir()
    for name in ("leaves_a_mark", "hubconf", "webbrowser"):
        (folder / f"{name}.py").write_text(MODULE.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(Lazy, "mark", str(mark))
    monkeypatch.setitem(sys.modules, "lazy_here", Lazy("lazy_here"))
    yield mark
    assert not mark.exists()
    assert "leaves_a_mark" not in sys.modules


def filled(value, mark):
    texts = json.dumps(value).replace("{mark}", str(mark)).replace("{folder}", str(mark.parent / "modules"))
    return json.loads(texts)


def placed(name, value):
    """The fields of a configuration with the value in the field of that name, and in that of an energy."""
    value = [value] if name in ("negatives", "energies") else value
    yield {name: value}
    if name in TERM_FIELDS:
        yield {"energies": [{"loss_net": SMALL, name: value}]}


REFUSED = "Expected `seal` to be given anew, since it cannot be read as it is"


@pytest.mark.parametrize("path", CALLS)
def test_a_file_names_what_a_field_is_for_or_nothing(path, mark):
    for spelling_name, spelling in SPELLINGS.items():
        if path in MODULES and "in init_args" in spelling_name:
            continue  # what `made` of `Wrapping` is for
        value = filled(spelling(path, CALLS[path]), mark)
        for name in FIELDS:
            for fields in placed(name, value):
                with pytest.raises(ValueError, match=REFUSED + "|to be one of"):
                    SealConfig.of({**SealConfig().plain(), **fields})
        assert not mark.exists()


@pytest.mark.parametrize("path", CALLS)
def test_the_arguments_would_leave_a_mark(path, mark):
    """Or else the test above would say little of the worst of them."""
    direct = ("os.makedirs", "os.mkdir", "subprocess.run", "builtins.open", "io.FileIO", "logging.FileHandler")
    if path in direct:
        module, _, name = path.rpartition(".")
        getattr(__import__(module), name)(**filled(CALLS[path], mark))
        assert mark.exists()
        (mark.rmdir if mark.is_dir() else mark.unlink)()


@pytest.mark.parametrize(
    "seal",
    [
        {"class_path": "os.system", "init_args": {"command": "touch {mark}"}},
        {"class_path": "seal_lightning.SealConfig", "init_args": {}},
        {"loss_net.class_path": "leaves_a_mark.Net"},
        {"energies.0.loss_net": "leaves_a_mark.Net"},
        {"energies": [{"loss_net.class_path": "leaves_a_mark.Net"}]},
        {"energies": {"class_path": "os.makedirs", "init_args": {"name": "{mark}"}}},
        {"energies": [{"class_path": "seal_lightning.EnergyTerm", "init_args": {"loss_net": "leaves_a_mark.Net"}}]},
        {"energies": [{"class_path": "tests.training.test_trust.unannotated", "init_args": {}}]},
        {"energies": "settings.yaml"},
        {"objective": "settings.yaml"},
        {"loss_net": "settings.yaml"},
        {"loss_net": "http://localhost:1/settings.yaml"},
        {"loss_net": "{class_path: leaves_a_mark.Net}"},
        {"weight": "{class_path: leaves_a_mark.Net}"},
        {"skeleton": "settings.yaml"},
        {"__path__": "settings.yaml"},
        {"__default_config__": "settings.yaml"},
        {"_class_path": "leaves_a_mark.Net"},
        {"_instantiator": "os.system"},
        {"loss_net": {**SMALL, "__path__": "settings.yaml"}},
        {"loss_net": {**SMALL, "init_args": {"hidden": 8, "__path__": "settings.yaml"}}},
        {"loss_net": {**SMALL, "init_args": {"hidden.class_path": "leaves_a_mark.Net"}}},
        {"loss_net": {**SMALL, "init_args": {"hidden": "leaves_a_mark.Net"}}},
        {"loss_net": {**SMALL, "init_args": {"hidden": {"class_path": "leaves_a_mark.Net"}}}},
        {"loss_net": {**SMALL, "init_args": {"hidden": [{"class_path": "leaves_a_mark.Net"}]}}},
        {"loss_net": {**SMALL, "init_args": {"hidden": {"x": {"class_path": "leaves_a_mark.Net"}}}}},
        {"loss_net": {**SMALL, "init_args": "settings.yaml"}},
        {"loss_net": {"class_path": ["os", "system"]}},
        {"loss_net": {"class_path": None}},
        {"weight": {"ratio": {"class_path": "os.makedirs", "init_args": {"name": "{mark}"}}}},
        {"skeleton": {"names": ["a"], "parents": {"class_path": "os.makedirs", "init_args": {"name": "{mark}"}}}},
        {"skeleton": {"class_path": "seal_lightning.Skeleton.from_bvh", "init_args": {"path": "settings.yaml"}}},
        {"skeleton": {"class_path": "seal_lightning.skeleton.Skeleton.from_bvh", "init_args": {"path": "{mark}"}}},
        {"seed": {"class_path": "os.makedirs", "init_args": {"name": "{mark}"}}},
        {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": {"class_path": "os.makedirs"}}}},
        {
            "lr_scheduler": {
                "class_path": "torch.optim.lr_scheduler.LambdaLR",
                "init_args": {"lr_lambda": "os.system"},
            }
        },
    ],
    ids=str,
)
def test_other_ways_to_say_it(seal, mark, monkeypatch):
    monkeypatch.chdir(mark.parent)
    Path("settings.yaml").write_text("class_path: leaves_a_mark.Net\nloss_net: leaves_a_mark.Net\n")
    with pytest.raises(ValueError, match=REFUSED):
        SealConfig.of({**SealConfig().plain(), **filled(seal, mark)})


def test_a_refusal_says_what_to_import(mark):
    with pytest.raises(ValueError, match=r"'leaves_a_mark.Net' and 'leaves_a_mark' is not imported.*`import leaves_a"):
        SealConfig.of({"loss_net": "leaves_a_mark.Net"})
    with pytest.raises(ValueError, match=r"`optimizer` to be a Optimizer, or a function .* 'os.system'."):
        SealConfig.of({"optimizer": "os.system"})


# What is allowed.
@pytest.mark.parametrize(
    "factory",
    [
        *(MLPLossNet, annotated, in_quotes, Outer.Inner, Wrapping),
        *(partial(annotated, hidden=4), partial(Wrapping, made=nn.Tanh), partial(Outer.Inner, hidden=4, dropout=0.1)),
    ],
    ids=["class", "function", "in_quotes", "nested", "of_torch", "partial", "partial_of_torch", "partial_nested"],
)
def test_classes_and_annotated_functions_that_are_imported_are_read_back(factory):
    plain = SealConfig(loss_net=factory).plain()
    (term,) = SealConfig.of(json.loads(json.dumps(plain))).terms()
    mine, theirs = term.loss_net("h36m17"), factory("h36m17")
    assert type(mine) is type(theirs)
    assert [p.shape for p in mine.parameters()] == [p.shape for p in theirs.parameters()]
    assert getattr(mine, "made", None) is getattr(theirs, "made", None)


@pytest.mark.parametrize(
    "path",
    [
        *("seal_lightning.loss_nets.MLPLossNet", "seal_lightning.loss_nets.mlp.MLPLossNet"),
        *(
            "tests.training.test_trust.Outer.Inner",
            "tests.training.test_trust.Outer.small",
            "tests.training.test_trust.annotated",
        ),
    ],
)
def test_paths_of_loss_nets(path):
    assert isinstance(find_factory(path, (LossNet,), "loss_net")("h36m17"), MLPLossNet)


def test_rooms_of_this_package_count_as_imported(monkeypatch):
    for room in ROOMS:
        found = sys.modules[room]
        monkeypatch.delitem(sys.modules, room)
        for name in found.__all__:
            if isinstance(vars(found)[name], type):
                assert find_factory(f"{room}.{name}", (object,), "x").__name__ == name
        monkeypatch.setitem(sys.modules, room, found)


def test_own_types_may_be_named_or_not():
    seal = {
        "skeleton": {"class_path": "seal_lightning.Skeleton", "init_args": {"names": ["a", "b"], "parents": [-1, 0]}},
        "energies": [
            {"class_path": "seal_lightning.EnergyTerm", "init_args": {"loss_net": SMALL, "weight": {"ratio": 0.3}}},
            {
                "loss_net": "seal_lightning.loss_nets.MLPLossNet",
                "objective": {"class_path": "seal_lightning.objectives.MarginObjective", "init_args": {"ratio": 2.0}},
                "weight": {"class_path": "seal_lightning.ForceRatio", "init_args": {"ratio": 0.4}},
                "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"betas": [0.5, 0.9]}},
            },
        ],
    }
    config = SealConfig.of(seal)
    assert config.skeleton == Skeleton(("a", "b"), (-1, 0))
    assert [term.weight for term in config.energies] == [ForceRatio(0.3), ForceRatio(0.4)]
    assert all(isinstance(term, EnergyTerm) for term in config.energies)
    assert config.energies[1].objective == MarginObjective(2.0)
    assert config.energies[1].optimizer.keywords == {"betas": (0.5, 0.9)}


# Whole files.
class Host(TinyLifter):
    """A host with a part that the command line makes."""

    def __init__(
        self,
        hidden: int = 8,
        part: nn.Module | None = None,
        note: str | None = None,
        anything: Any = None,
        table: dict[str, Any] | None = None,
        bare=None,
        whatever: object = None,
        makes: Callable[..., Any] | None = None,
        sized: Sized | None = None,
    ):
        super().__init__(hidden)
        self.save_hyperparameters(ignore=["part"])

    def test_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)

    def predict_step(self, batch, batch_idx):
        return self(batch[0])


class SealHost(SealMixin, Host):
    pass


class Data(L.LightningDataModule):
    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = lambda self: loader()


class Open(SealHost):
    """Takes whatever it is given, like many a host, and hands it on."""

    def __init__(self, more: int = 1, **rest):
        super().__init__(**rest)


class Lax(SealHost):
    """To whom a string is a string where it would name a class to its base."""

    def __init__(self, hidden: int = 8, part: str = "", seal: SealConfig | None = None):
        super().__init__(hidden, seal=seal)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("trust") / "whole.ckpt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(path)
    return torch.load(path, weights_only=True)


BY_PARSER = {
    "_instantiator": "lightning.pytorch.cli.instantiate_module",
    "_class_path": "tests.training.test_trust.SealHost",
}
OPEN = "tests.training.test_trust.Open"
COMMANDS = ["fit", "validate", "test", "predict"]
FORMATS = [1, 2]
SETTINGS = configuration().plain()


def crafted(whole, form, seal, host=None, key="hyper_parameters"):
    """A checkpoint of a format with these settings of SEAL and of the host."""
    entry = {name: value for name, value in whole["seal"].items() if name != "settings"}
    host = {"hidden": 8, **(host or {})}
    if form == 1:
        return {**whole, "hyper_parameters": {}, "seal": {**entry, "format": 1}, key: {**host, "seal": seal}}
    return {**whole, "hyper_parameters": {}, "seal": {**entry, "settings": seal}, key: host}


def command(name, path, *more, model="SealHost"):
    """Run a command, whose parser is the only one that is made, since that takes most of the time."""

    class OneCommand(SealCLI):
        @staticmethod
        def subcommands():
            return {name: SealCLI.subcommands()[name]}

    arguments = [name, f"--ckpt_path={path}", f"--data={__name__}.Data", f"--model={__name__}.{model}", *more]
    arguments += [f"--trainer.{flag}=false" for flag in ("logger", "enable_checkpointing", "enable_progress_bar")]
    arguments += ["--trainer.enable_model_summary=false", "--trainer.accelerator=cpu", "--trainer.max_epochs=2"]
    text = io.StringIO()
    try:
        with redirect_stderr(text), redirect_stdout(io.StringIO()):
            return OneCommand([*arguments, f"--trainer.default_root_dir={Path(path).parent}"])
    except SystemExit as stop:
        raise ValueError(text.getvalue()) from stop


LOADS = {
    "load_from_checkpoint": lambda path: SealHost.load_from_checkpoint(path),
    "weights_only": lambda path: SealHost.load_from_checkpoint(path, weights_only=True),
    "file object": lambda path: SealHost.load_from_checkpoint(io.BytesIO(Path(path).read_bytes())),
    "a subclass": lambda path: Open.load_from_checkpoint(path),
}
TRAINERS = {"fit": L.Trainer.fit, "validate": L.Trainer.validate, "test": L.Trainer.test}
NAMED = [
    {"class_path": "os.makedirs", "init_args": {"name": "{mark}"}},
    {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "{mark}"]}},
    {"class_path": "leaves_a_mark.Net", "init_args": {}},
    "lazy_here.Net",
]
WRITING = [
    {"class_path": "torch.serialization._open_file", "init_args": {"name": "{mark}", "mode": "w"}},
    {"class_path": "lightning.pytorch.loggers.csv_logs.ExperimentWriter", "init_args": {"log_dir": "{mark}"}},
    {"class_path": "numpy.memmap", "dict_kwargs": {"filename": "{mark}", "mode": "w+", "shape": [4]}},
    {"class_path": "lightning.pytorch.Trainer", "init_args": {}},
]
CRAFTED_SEAL = [
    *({name: named} for named in NAMED for name in ("loss_net", "lr_scheduler")),
    *({"energies": [{"loss_net": named}]} for named in NAMED),
    {**SETTINGS, "loss_net.class_path": "leaves_a_mark.Net"},
    {"__path__": "settings.yaml"},
    {"class_path": "os.makedirs", "init_args": {"name": "{mark}"}},
    "settings.yaml",
    "os.system",
    3,
    [NAMED[0]],
]
CRAFTED_HOST = [
    *({"part": named} for named in NAMED),
    *({"part": {"class_path": "torch.nn.Sequential", "dict_kwargs": {"x": named}}} for named in NAMED[:3]),
    *(
        {name: {"class_path": "torch.serialization._open_file", "init_args": {"name": "{mark}", "mode": "w"}}}
        for name in ("anything", "bare", "whatever", "makes", "sized")
    ),
    {"bare": {"class_path": "lightning.pytorch.loggers.csv_logs.ExperimentWriter", "init_args": {"log_dir": "{mark}"}}},
    {"anything": {"class_path": "lightning.pytorch.Trainer", "init_args": {"default_root_dir": "{mark}"}}},
    {"table": {"x": {"class_path": "torch.serialization._open_file", "init_args": {"name": "{mark}", "mode": "w"}}}},
    {"part": "{class_path: leaves_a_mark.Net}"},
    {"part": "settings.yaml"},
    {"anything": "{class_path: leaves_a_mark.Net}"},
    {"anything": '{"class\\x5fpath": leaves_a_mark.Net}'},
    {"anything": {"class_path": "leaves_a_mark.Net"}},
    {"anything": "class_path: leaves_a_mark.Net"},
    {"anything": "class_path:\n  leaves_a_mark.Net"},
    {"table": {"x": "{class_path: leaves_a_mark.Net}"}},
    {"table": {"x": {"class_path": "os.makedirs", "init_args": {"name": "{mark}"}}}},
    {"table": "{x: {class_path: leaves_a_mark.Net}}"},
    {"_class_path": "leaves_a_mark.Net"},
    {"_class_path": "os.system"},
    {"_class_path": "lazy_here.Net"},
    {"_class_path": "tests.training.test_trust.unannotated"},
    {"_class_path": "tests.training.test_trust.Lax", "part": "leaves_a_mark.Net"},
    # Classes that are imported, and not of Python's own library, for an argument that does not say what it is for.
    *({"anything": named} for named in WRITING),
    *({"anything": [named]} for named in WRITING),
    *({"table": {"x": named}} for named in WRITING),
    *({"part": {"class_path": "torch.nn.Sequential", "dict_kwargs": {"x": named}}} for named in WRITING),
    *({"bare": named} for named in WRITING),
    *({"makes": named} for named in WRITING),
]
NO_ARGUMENTS = [
    {"part.class_path": "leaves_a_mark.Net"},
    {"seal.loss_net": "leaves_a_mark.Net"},
    {"class_path": "leaves_a_mark.Net"},
    {"dict_kwargs": {"part": "leaves_a_mark.Net"}},
    {"__path__": "settings.yaml"},
]


@pytest.fixture
def folder(mark, monkeypatch):
    """The current directory, with a file that a parser might take for settings."""
    monkeypatch.chdir(mark.parent)
    Path("settings.yaml").write_text("class_path: leaves_a_mark.Net\nloss_net: leaves_a_mark.Net\n")
    return mark.parent


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("seal", CRAFTED_SEAL, ids=str)
def test_crafted_settings_of_seal_run_nothing(seal, form, whole, mark, folder, make_trainer):
    seal = filled(seal, mark)
    for parser in ({}, BY_PARSER):
        torch.save(crafted(whole, form, seal, parser), "crafted.ckpt")
        for name, run in LOADS.items():
            with pytest.raises((ValueError, TypeError), match=r"Expected `(seal|_class_path)` to be"):
                run("crafted.ckpt")
            assert not mark.exists(), name
    for name, run in TRAINERS.items():
        with pytest.raises((ValueError, TypeError), match="Expected `seal` to be"):
            run(make_trainer(max_epochs=2), SealHost(), loader(), ckpt_path="crafted.ckpt")
        assert not mark.exists(), name


def test_a_plain_host_follows_no_settings_of_seal(whole, mark, folder):
    for number, seal in enumerate(CRAFTED_SEAL):
        torch.save(crafted(whole, 2, filled(seal, mark), BY_PARSER if number % 2 else {}), "crafted.ckpt")
        assert type(Host.load_from_checkpoint("crafted.ckpt")) is Host
        assert not mark.exists(), seal


@pytest.mark.parametrize("settings", CRAFTED_HOST, ids=str)
def test_crafted_settings_of_the_host_run_nothing(settings, whole, mark, folder):
    settings = filled(settings, mark)
    torch.save(crafted(whole, 2, SETTINGS, {**BY_PARSER, **settings}), "crafted.ckpt")
    for name, run in LOADS.items():
        with pytest.raises(ValueError, match="Expected"):
            run("crafted.ckpt")
        assert not mark.exists(), name


@pytest.mark.parametrize("settings", NO_ARGUMENTS, ids=str)
def test_names_that_are_no_arguments_are_left_out_or_refused(settings, whole, mark, folder):
    torch.save(crafted(whole, 2, SETTINGS, {**BY_PARSER, **settings}), "crafted.ckpt")
    assert SealHost.load_from_checkpoint("crafted.ckpt").seal.draws == 5
    torch.save(crafted(whole, 2, SETTINGS, {**BY_PARSER, **settings, "_class_path": OPEN}), "crafted.ckpt")
    with pytest.raises(ValueError, match="Expected"):
        Open.load_from_checkpoint("crafted.ckpt")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_follows_crafted_settings_of_seal(name, form, whole, mark, folder):
    torch.save(crafted(whole, form, {"optimizer": filled(NAMED[form], mark)}, BY_PARSER), "crafted.ckpt")
    with pytest.raises(ValueError, match=r"^seal-lightning: Expected `seal` to be.*settings are those in 'crafted"):
        command(name, "crafted.ckpt", "--model.seal=null")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_follows_crafted_settings_of_the_host(name, whole, mark, folder):
    one = COMMANDS.index(name)
    for settings in [*CRAFTED_HOST[one:4:4], *CRAFTED_HOST[7 + one : 24 : 4]]:
        torch.save(crafted(whole, 2, None, {**BY_PARSER, **filled(settings, mark)}), "crafted.ckpt")
        with pytest.raises(ValueError, match=r"seal-lightning: Expected .* The settings are those in 'crafted.ckpt'"):
            command(name, "crafted.ckpt")
        assert not mark.exists(), settings


def test_what_a_command_is_not_to_follow_is_not_followed(whole, mark, folder):
    """The class in the file, names that are no arguments, and whatever was given on the command line."""
    strange = {"_class_path": "leaves_a_mark.Net", "__path__": "settings.yaml", "part": NAMED[2], "seal.loss_net": "x"}
    torch.save(crafted(whole, 2, filled({"loss_net": NAMED[0]}, mark), {**BY_PARSER, **strange}), "crafted.ckpt")
    part = ["--model.part=torch.nn.Linear", "--model.part.in_features=1", "--model.part.out_features=1"]
    Path("asked.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"seal": SETTINGS}}}))
    assert command("validate", "crafted.ckpt", *part, "--config=asked.yaml").model.seal.draws == 5
    assert type(command("validate", "crafted.ckpt", *part, model="Host").model) is Host


@pytest.mark.parametrize("key", ["hyper_parameters", "hparams", "module_arguments"])
@pytest.mark.parametrize("parser", [{}, BY_PARSER])
def test_settings_under_every_key_that_lightning_reads(key, parser, whole, mark):
    seal = {"lr_scheduler": filled(NAMED[0], mark)}
    path = mark.parent / "crafted.ckpt"
    torch.save(crafted(whole, 1, seal, parser, key), path)
    with pytest.raises(ValueError, match=REFUSED):
        SealHost.load_from_checkpoint(path)
    torch.save({**crafted(whole, 1, None), "hyper_parameters": seal, "hparams_name": "seal"}, path)
    with pytest.raises(ValueError, match=REFUSED):
        SealHost.load_from_checkpoint(path)


def test_a_file_of_hyperparameters_makes_a_parser_follow_nothing_else(whole, mark, folder):
    """A logger writes the name of the parser, too, and a checkpoint has more than one place for arguments."""
    Path("hparams.yaml").write_text(yaml.safe_dump({"_instantiator": BY_PARSER["_instantiator"], "hidden": 8}))
    for settings in CRAFTED_HOST[:7]:
        torch.save(crafted(whole, 2, SETTINGS, filled(settings, mark), key="module_arguments"), "crafted.ckpt")
        with pytest.raises(ValueError, match="Expected"):
            SealHost.load_from_checkpoint("crafted.ckpt", hparams_file="hparams.yaml")
        assert not mark.exists(), settings


@pytest.mark.parametrize("form", FORMATS)
def test_settings_given_anew_go_over_those_in_the_file(form, whole, mark, make_trainer):
    path = mark.parent / "crafted.ckpt"
    for more in ({}, BY_PARSER):
        torch.save(crafted(whole, form, {"lr_scheduler": filled(NAMED[0], mark)}, more), path)
        assert SealHost.load_from_checkpoint(path, seal=configuration()).seal.draws == 5
    make_trainer(max_epochs=2).fit(SealTinyLifter(seal=configuration()), loader(), ckpt_path=path)
    make_trainer().validate(SealTinyLifter(seal=configuration()), loader(), ckpt_path=path)


@pytest.mark.parametrize(("name", "form"), [("fit", 1), ("validate", 2), ("test", 1), ("predict", 2)])
def test_a_file_of_the_command_line_is_restored(name, form, whole, tmp_path):
    part = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "out_features": 3}}
    host = {**BY_PARSER, "note": "{a: b/c}", "anything": "C:/a.b", "part": part, "bare": part}
    torch.save(crafted(whole, form, SETTINGS, host), tmp_path / "good.ckpt")
    model = command(name, tmp_path / "good.ckpt").model
    assert list(model.seal.energies) == ["points", "bones"]
    assert (model.hparams.note, model.hparams.anything) == ("{a: b/c}", "C:/a.b")
    assert model.hparams.bare["class_path"] == "torch.nn.Linear"
    assert list(SealHost.load_from_checkpoint(tmp_path / "good.ckpt").seal.energies) == ["points", "bones"]
    if name == "validate":  # null is an answer, too
        assert command(name, tmp_path / "good.ckpt", "--model.note=null").model.hparams.note is None


# Where the loss-nets come from.
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("parser", [{}, BY_PARSER])
def test_a_path_in_a_file_is_not_opened_where_the_file_holds_the_loss_nets(mode, parser, form, whole, tmp_path):
    gone = str(tmp_path / "gone.ckpt")
    seal = {**SETTINGS, "checkpoint": gone, "mode": mode, "warmup_steps": 0}
    path = tmp_path / "warm.ckpt"
    torch.save(crafted(whole, form, seal, parser), path)
    model = SealHost.load_from_checkpoint(path)
    for name, values in model.seal.state_dict().items():
        if isinstance(values, torch.Tensor):
            assert torch.equal(values, whole["seal"]["criterion"][name])
    assert model.hparams.seal["checkpoint"] == gone
    if parser and mode == "static":
        assert command("validate", path).model.seal.draws == model.seal.draws
    asked = SealConfig.of(seal)
    assert SealHost.load_from_checkpoint(path, seal=asked).seal.draws == model.seal.draws
    if form == 1:
        torch.save({key: value for key, value in crafted(whole, 1, seal, parser).items() if key != "seal"}, path)
        with pytest.raises(ValueError, match=r"given anew, since the checkpoint has no entry `seal` .*not opened"):
            SealHost.load_from_checkpoint(path)
        with pytest.raises(FileNotFoundError, match="there is none at"):  # one's own is opened
            SealHost.load_from_checkpoint(path, seal=asked)


def test_a_configuration_of_ones_own_is_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is none at"):
        SealHost(seal=SealConfig(checkpoint=str(tmp_path / "gone.ckpt")))


def test_loading_is_for_classes():
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        SealHost().load_from_checkpoint("x.ckpt")
