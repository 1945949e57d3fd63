"""Every SEAL argument reaches the model from YAML and from the command line, and survives its checkpoint."""

import contextlib
import dataclasses
import io
from pathlib import Path

import pytest
import torch
import yaml

from seal_lightning import EnergyTerm, ForceRatio, SealConfig, SealLoss, Skeleton, get_skeleton
from seal_lightning.cli import SealCLI, main
from seal_lightning.loss_nets import ClipLossNet, MLPLossNet
from seal_lightning.negatives import GaussianNegatives, PredictionNegatives
from seal_lightning.objectives import LogisticObjective, MarginObjective

ROOT = Path(__file__).resolve().parents[2]
MODEL = "examples.seal_lifter.SealLifter"
SMALL = ["--model.hidden=8", "--trainer.accelerator=cpu", "--trainer.logger=false"]
MLP = {"class_path": "MLPLossNet", "init_args": {"hidden": 8}}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.3}}
CHAIN = Skeleton(tuple("abc"), (-1, 0, 1))

# Field by field: what YAML says, and the flags that say the same.
TERM = {
    "loss_net": (MLP, ["loss_net=MLPLossNet", "loss_net.hidden=8"]),
    "objective": (
        {"class_path": "seal_lightning.objectives.MarginObjective", "init_args": {"ratio": 2.0}},
        ["objective=MarginObjective", "objective.ratio=2.0"],
    ),
    "negatives": (
        [{"class_path": "GaussianNegatives", "init_args": {"std": 0.3}}, {"class_path": "PredictionNegatives"}],
        ["negatives=[{class_path: GaussianNegatives, init_args: {std: 0.3}}, PredictionNegatives]"],
    ),
    "weight": ({"ratio": 0.3, "amplification": 5.0}, ["weight.ratio=0.3", "weight.amplification=5.0"]),
    "gradient_penalty": (0.2, ["gradient_penalty=0.2"]),
    "optimizer": (SGD, ["optimizer=torch.optim.SGD", "optimizer.lr=0.3"]),
}
CONFIG = {
    "skeleton": (
        {"names": ["a", "b", "c"], "parents": [-1, 0, 1]},
        ["skeleton.names=[a, b, c]", "skeleton.parents=[-1, 0, 1]"],
    ),
    "warmup_steps": (3, ["warmup_steps=3"]),
    "lr_scheduler": (
        {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 7}},
        ["lr_scheduler=torch.optim.lr_scheduler.StepLR", "lr_scheduler.step_size=7"],
    ),
    "gradient_clip_val": (1.5, ["gradient_clip_val=1.5"]),
    "update": ("simultaneous", ["update=simultaneous"]),
    "precision": ("bfloat16", ["precision=bfloat16"]),
    "frames_per_clip": (2, ["frames_per_clip=2"]),
    "every_n_steps": (2, ["every_n_steps=2"]),
    "cuda_graph": (True, ["cuda_graph=true"]),
    "max_skipped_updates": (7, ["max_skipped_updates=7"]),
    "seed": (4, ["seed=4"]),
}
NAMED = {"name": ("first", ["name=first"])}
FROZEN = {
    "loss_net": (MLP, ["loss_net=MLPLossNet", "loss_net.hidden=8"]),
    "weight": (0.5, ["weight=0.5"]),
    "mode": ("static", ["mode=static"]),
    "checkpoint": ("frozen.pt", ["checkpoint=frozen.pt"]),
}


class Instantiated(SealCLI):
    """All of the command but the training."""

    def _run_subcommand(self, subcommand):
        pass


@pytest.fixture(autouse=True)
def _examples(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(tmp_path)


def flags(cases, prefix="--model.seal."):
    return [prefix + flag for _, written in cases.values() for flag in written]


def from_yaml(seal):
    config = {"model": {"class_path": MODEL, "init_args": {"hidden": 8, "seal": seal}}}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    return Instantiated(["fit", "--config", "config.yaml", *SMALL]).model._seal_config


def from_flags(*written):
    return Instantiated(["fit", f"--model={MODEL}", *SMALL, *written]).model._seal_config


def same_term(term, skeleton=CHAIN, *, objective, negatives, weight, gradient_penalty):
    net = term.loss_net(skeleton)
    optimizer = term.optimizer(net.parameters())
    assert isinstance(net, MLPLossNet)
    assert net.embed.out_features == 8
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["lr"] == 0.3
    found = (term.objective, tuple(term.negatives), term.weight, term.gradient_penalty)
    assert found == (objective, negatives, weight, gradient_penalty)


WANTED = {
    "objective": MarginObjective(ratio=2.0),
    "negatives": (GaussianNegatives(std=0.3), PredictionNegatives()),
    "weight": ForceRatio(0.3, amplification=5.0),
    "gradient_penalty": 0.2,
}


def test_no_field_is_left_out():
    assert {*TERM, *NAMED} == {field.name for field in dataclasses.fields(EnergyTerm)}
    assert {*TERM, *CONFIG, *FROZEN, "energies"} == {field.name for field in dataclasses.fields(SealConfig)}


@pytest.mark.parametrize("source", ["yaml", "flags"])
def test_every_field_of_the_config(source):
    cases = TERM | CONFIG
    config = from_yaml({name: said for name, (said, _) in cases.items()}) if source == "yaml" else None
    config = config or from_flags(*flags(cases))
    assert config.skeleton == CHAIN
    (term,) = config.terms()
    same_term(term, **WANTED)
    for name in (
        "warmup_steps",
        "gradient_clip_val",
        "max_skipped_updates",
        "update",
        "precision",
        "frames_per_clip",
        "every_n_steps",
        "cuda_graph",
        "seed",
    ):
        assert getattr(config, name) == CONFIG[name][0]
        assert getattr(config, name) != getattr(SealConfig(), name)
    optimizer = term.optimizer(term.loss_net(CHAIN).parameters())
    scheduler = config.lr_scheduler(optimizer)
    assert isinstance(scheduler, torch.optim.lr_scheduler.StepLR)
    assert scheduler.step_size == 7


@pytest.mark.parametrize("source", ["yaml", "flags"])
def test_every_field_of_an_energy(source):
    cases, second = TERM | NAMED, {"loss_net": "MLPLossNet", "name": "second", "weight": 0.5}
    if source == "yaml":
        config = from_yaml({"energies": [{name: said for name, (said, _) in cases.items()}, second]})
    else:  # the first flag appends a term, the following ones are about the term appended last
        append = "--model.seal.energies+={loss_net: MLPLossNet}"
        rest = ["--model.seal.energies.name=second", "--model.seal.energies.weight=0.5"]
        config = from_flags(append, *flags(cases, "--model.seal.energies."), append, *rest)
    first, other = config.terms()
    same_term(first, **WANTED)
    assert [first.name, other.name] == ["first", "second"]
    assert other.weight == 0.5
    assert other.objective == LogisticObjective()


@pytest.mark.parametrize("source", ["yaml", "flags"])
def test_frozen_loss_nets(source):
    donor = SealConfig(loss_net=lambda skeleton: MLPLossNet(skeleton, hidden=8))
    torch.save(SealLoss("h36m17", donor.terms()).state_dict(), "frozen.pt")
    if source == "yaml":
        config = from_yaml({name: said for name, (said, _) in FROZEN.items()})
    else:
        config = from_flags(*flags(FROZEN))
    assert (config.mode, config.checkpoint, config.terms()[0].weight) == ("static", "frozen.pt", 0.5)


def test_flags_go_over_yaml_and_leave_the_rest():
    Path("config.yaml").write_text(
        yaml.safe_dump({"model": {"class_path": MODEL, "init_args": {"seal": {"loss_net": MLP, "optimizer": SGD}}}})
    )
    cli = Instantiated(
        ["fit", "--config", "config.yaml", *SMALL, "--model.seal.optimizer.lr=0.7", "--model.seal.loss_net.stages=1"]
    )
    (term,) = cli.model._seal_config.terms()
    net = term.loss_net(CHAIN)
    assert (net.embed.out_features, len(net.stages)) == (8, 1)
    assert term.optimizer(net.parameters()).defaults["lr"] == 0.7


def test_help_and_print_config_show_host_and_mixin():
    def printed(*args):
        text = io.StringIO()
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as stop:
            main(["fit", *args])
        assert stop.value.code == 0
        return text.getvalue()

    shown = printed(f"--model.help={MODEL}")
    assert "--model.hidden" in shown
    assert "Width of the linear layers" in shown
    assert "--model.seal SEAL" in shown
    config = yaml.safe_load(printed(f"--model={MODEL}", "--model.hidden=9", "--print_config"))["model"]
    assert config["init_args"]["hidden"] == 9
    fields = {field.name for field in dataclasses.fields(SealConfig)}
    config = yaml.safe_load(printed(f"--model={MODEL}", "--model.seal.seed=5", "--print_config"))["model"]
    assert set(config["init_args"]["seal"]) == fields
    assert config["init_args"]["seal"]["seed"] == 5


@pytest.mark.parametrize("seal", [{"energies": [{"loss_net": "MLPLossNet"}]}, {"loss_net": MLP, "optimizer": SGD}])
def test_printed_config_says_the_same_again(seal, capsys):
    Path("config.yaml").write_text(yaml.safe_dump({"model": {"class_path": MODEL, "init_args": {"seal": seal}}}))
    printed = []
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            main(["fit", "--config", "config.yaml", *SMALL, "--print_config"])
        assert stop.value.code == 0
        printed.append(capsys.readouterr().out)
        Path("config.yaml").write_text(printed[-1])
    assert printed[0] == printed[1]
    (term,) = from_flags("--config", "config.yaml").terms()
    assert isinstance(term.loss_net(CHAIN), MLPLossNet)
    assert term.negatives == (PredictionNegatives(),)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("weihgt=1", "seal: SealConfig has no argument 'weihgt'. Did you mean 'weight'?"),
        ("weight.ratoi=1", "seal.weight: ForceRatio has no argument 'ratoi'. Did you mean 'ratio'?"),
        ("weight=heavy", "seal.weight: Expected float, but got 'heavy'."),
        ("warmup_steps=many", "seal.warmup_steps: Expected int, but got 'many'."),
        ("mode=frozen", "seal.mode: Expected Literal['dynamic', 'static'], but got 'frozen'."),
        ("objective=torch.nn.Linear", "seal.objective: Expected a subclass of Objective, but got torch.nn.Linear."),
        (
            "loss_net={class_path: MLPLossNet, init_args: {hiden: 3}}",
            "seal.loss_net: MLPLossNet has no argument 'hiden'. Did you mean 'hidden'?",
        ),
        ("loss_net=Nobody", "seal.loss_net: No class is known by the name 'Nobody'. Give its import path, as in "),
        ("loss_net=GrafLossNet", "No class is known by the name 'GrafLossNet'. Did you mean 'GraphLossNet'?"),
        (
            "energies=[{loss_net: MLPLossNet, wieght: 3}]",
            "seal.energies: EnergyTerm has no argument 'wieght'. Did you mean 'weight'?",
        ),
        ("energies=[{objective: NCEObjective}]", "seal.energies: Expected these arguments, too: loss_net."),
        (
            "energies=[{loss_net: MLPLossNet, gradient_penalty: some}]",
            "seal.energies.gradient_penalty: Expected float, but got 'some'.",
        ),
    ],
)
def test_wrong_names_and_types(flag, message, capsys):
    with pytest.raises(SystemExit) as stop:
        from_flags(f"--model.seal.{flag}")
    assert stop.value.code == 2
    said, *hint = capsys.readouterr().err.splitlines()
    assert message in said
    assert len(hint) == 1
    assert hint[0].startswith("All options: seal-lightning")


def test_values_out_of_range_are_named():
    with pytest.raises(ValueError, match="Expected `warmup_steps` to be at least 0, but got -1"):
        from_flags("--model.seal.warmup_steps=-1")
    with pytest.raises(ValueError, match=r"Expected `skeleton` to be one of .* but got 'nobody'"):
        from_flags("--model.seal.skeleton=nobody")


def leaves(value):
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return {type(value)} if inner is None else set().union(*map(leaves, inner))


def test_saved_hyper_parameters_are_plain_and_load_under_weights_only(tmp_path):
    from examples.seal_lifter import SealLifter

    data = [
        "--data=seal_lightning.data.MocapDataModule",
        "--data.batch_size=6",
        "--data.synthetic.frames=10",
        "--data.frames=3",
    ]
    data += ["--data.synthetic.subjects=3", "--data.synthetic.clips_per_subject=1"]
    keep = ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.dirpath=.", "--trainer.callbacks.filename=w"]
    quick = ["--trainer.max_steps=2", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    wanted = {name: case for name, case in (TERM | CONFIG).items() if name not in ("skeleton", "frames_per_clip")}
    main(["fit", f"--model={MODEL}", *SMALL, *data, *keep, *quick, *flags(wanted)])

    checkpoint = torch.load("w.ckpt", weights_only=True)
    saved, settings = checkpoint["hyper_parameters"], checkpoint["seal"]["settings"]
    assert leaves([saved, settings]) <= {str, int, float, bool, type(None)}
    assert saved["hidden"] == 8
    assert "seal" not in saved
    assert settings["loss_net"]["init_args"]["hidden"] == 8
    again = SealLifter.load_from_checkpoint("w.ckpt", weights_only=True)
    assert again.net.output.in_features == 8
    same_term(again._seal_config.terms()[0], "h36m17", **WANTED)
    for name in ("warmup_steps", "gradient_clip_val", "update", "precision", "seed", "every_n_steps", "cuda_graph"):
        assert getattr(again._seal_config, name) == CONFIG[name][0]
    same_term(SealConfig.of(again.hparams.seal).terms()[0], "h36m17", **WANTED)  # fit for a further checkpoint
    resumed = torch.load("w.ckpt", weights_only=True)["seal"]["criterion"]
    ours = again.seal.state_dict()
    tensors = [key for key, value in ours.items() if isinstance(value, torch.Tensor)]
    assert len(tensors) > 4
    assert all(torch.equal(ours[key], resumed[key]) for key in tensors)


def test_a_loss_net_that_sees_clips_is_named_like_any_other():
    for config in (
        from_flags("--model.seal.loss_net=ClipLossNet", "--model.seal.loss_net.hidden=8"),
        from_yaml({"loss_net": {"class_path": "seal_lightning.loss_nets.ClipLossNet", "init_args": {"hidden": 8}}}),
    ):
        (term,) = config.terms()
        net = term.loss_net(get_skeleton("h36m17"))
        assert (type(net), net.embed.out_features) == (ClipLossNet, 8)
