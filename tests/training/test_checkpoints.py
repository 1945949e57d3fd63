"""Checkpoints from strangers and from other versions: no code of theirs runs, and what does not fit says what to do."""

import os
import pickle
import re
import sys
import tempfile
import warnings
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seal_lightning import SealConfig, SealLoss
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.training.stored import FORMAT, read_entry
from tests.training.assets.make_checkpoint import SealTinyLifter, TinyLifter, configuration, loader, make, outcome

STORED = sorted(Path(__file__).parent.glob("assets/seal_format_*.ckpt"))


@pytest.fixture
def written(tmp_path):
    """A checkpoint of this version, as a dict."""
    make(tmp_path / "seal.ckpt")
    return torch.load(tmp_path / "seal.ckpt", weights_only=True)


def save(checkpoint, path):
    torch.save(checkpoint, path)
    return str(path)


# Files of earlier versions.
def test_every_format_is_stored():
    assert [path.name for path in STORED] == [f"seal_format_{number}.ckpt" for number in range(1, FORMAT + 1)]
    assert all(path.stat().st_size < 100_000 for path in STORED)


@pytest.fixture(params=STORED, ids=lambda path: path.stem)
def stored(request):
    return str(request.param)


def expected(path):
    return torch.load(path, weights_only=True)["outcome"]


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_a_stored_checkpoint_is_loaded(stored):
    model = SealTinyLifter.load_from_checkpoint(stored)
    same(outcome(model), expected(stored))
    assert model.seal.draws == 5
    assert [group["lr"] for group in model.seal_optimizer.param_groups] == pytest.approx([1e-3 * 0.9**4] * 2)
    assert all(state["step"] == 4 for state in model.seal_optimizer.state.values())


def test_a_stored_checkpoint_is_resumed(stored, make_trainer):
    model = SealTinyLifter(seal=configuration())
    trainer = make_trainer(max_epochs=2)
    trainer.fit(model, loader(), ckpt_path=stored)
    assert (trainer.global_step, model.seal.draws) == (8, 9)
    assert all(state["step"] == 8 for state in model.seal_optimizer.state.values())
    assert all(values.isfinite().all() for values in outcome(model).values())


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_loss_nets_are_taken_from_a_stored_checkpoint(stored, mode):
    config = configuration(checkpoint=stored) if mode == "dynamic" else static(stored)
    model = SealTinyLifter(seal=config)
    found, wanted = outcome(model), expected(stored)
    same({**found, "prediction": wanted["prediction"]}, wanted)


def static(path):
    terms = configuration().energies
    return SealConfig(energies=terms, mode="static", checkpoint=path, seed=3)


def test_a_stored_checkpoint_is_a_plain_hosts(stored):
    model = TinyLifter.load_from_checkpoint(stored, strict=True)
    x = torch.zeros(1, 17, 2)
    torch.testing.assert_close(model(x), SealTinyLifter.load_from_checkpoint(stored)(x))


def test_a_new_checkpoint_says_who_wrote_it_and_with_which_settings(written):
    assert written["seal"]["format"] == FORMAT
    assert written["seal"]["version"] == version("seal_lightning")
    assert SealConfig.of(written["seal"]["settings"]).plain() == configuration().plain()
    assert written["hyper_parameters"] == {"hidden": 8}  # a plain host's: what it does not know is not there


def test_a_trainer_follows_the_settings_of_a_stored_checkpoint_where_none_are_given(stored, make_trainer):
    model = SealTinyLifter()
    trainer = make_trainer(max_epochs=2)
    trainer.fit(model, loader(), ckpt_path=stored)
    assert (trainer.global_step, model.seal.draws) == (8, 9)
    assert list(model.seal.energies) == ["points", "bones"]
    assert model._seal_config.plain() == configuration().plain()
    assert model.hparams.seal == {"version": version("seal_lightning"), **configuration().plain()}


# Files of strangers.
class Payload:
    """What is run when this is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


PLACES = {
    "beside": lambda checkpoint, payload: {**checkpoint, "more": payload},
    "seal": lambda checkpoint, payload: {**checkpoint, "seal": payload},
    "in seal": lambda checkpoint, payload: {**checkpoint, "seal": {**checkpoint["seal"], "more": payload}},
    "criterion": lambda checkpoint, payload: {**checkpoint, "seal": {**checkpoint["seal"], "criterion": payload}},
    "state_dict": lambda checkpoint, payload: {**checkpoint, "state_dict": payload},
    "hyper_parameters": lambda checkpoint, payload: {**checkpoint, "hyper_parameters": {"seal": payload}},
    "settings": lambda checkpoint, payload: {**checkpoint, "seal": {**checkpoint["seal"], "settings": payload}},
    "alone": lambda checkpoint, payload: payload,
}
WAYS = {
    "load_from_checkpoint": lambda path, trainer: SealTinyLifter.load_from_checkpoint(path),
    "fit": lambda path, trainer: trainer.fit(SealTinyLifter(seal=configuration()), loader(), ckpt_path=path),
    "validate": lambda path, trainer: trainer.validate(SealTinyLifter(), loader(), ckpt_path=path),
    "checkpoint": lambda path, trainer: SealTinyLifter(seal=configuration(checkpoint=path)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_of_a_file_is_run(way, place, zipped, written, tmp_path, make_trainer):
    mark = tmp_path / "mark"
    path = str(tmp_path / "strange.ckpt")
    torch.save(PLACES[place](written, Payload(mark)), path, _use_new_zipfile_serialization=zipped)
    message = "asks for posix.system|asks for nt.system|Weights only load failed"
    with pytest.raises((ValueError, pickle.UnpicklingError), match=message):
        WAYS[way](path, make_trainer(max_epochs=1))
    assert not mark.exists()
    torch.load(path, weights_only=False)  # or else the test would say nothing
    assert mark.exists()


def test_a_plain_pickle_is_not_run(tmp_path):
    mark = tmp_path / "mark"
    (tmp_path / "strange.ckpt").write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(ValueError, match=r"Expected `checkpoint` to be a file of tensors.*Nothing in it was run"):
        SealTinyLifter(seal=configuration(checkpoint=tmp_path / "strange.ckpt"))
    assert not mark.exists()


MODULE = """
import pathlib
from seal_lightning.loss_nets import MLPLossNet
pathlib.Path({mark!r}).touch()

class Net(MLPLossNet):
    pass
"""


def test_a_checkpoint_imports_nothing(written, tmp_path, monkeypatch):
    """Plain data name classes, and to import a module is to run it: `deploy` might be a script in this directory."""
    mark = tmp_path / "mark"
    (tmp_path / "strange_nets.py").write_text(MODULE.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(tmp_path))
    named = {**SealConfig().plain(), "loss_net": {"class_path": "strange_nets.Net", "init_args": {"hidden": 8}}}
    path = save({**written, "seal": {**written["seal"], "settings": named}}, tmp_path / "strange.ckpt")
    with pytest.raises(ValueError, match=r"names 'strange_nets.Net' and 'strange_nets' is not imported.*`import stra"):
        SealTinyLifter.load_from_checkpoint(path)
    assert not mark.exists()
    __import__("strange_nets")
    monkeypatch.setitem(sys.modules, "strange_nets", sys.modules["strange_nets"])
    (term,) = SealConfig.of(named).terms()
    assert type(term.loss_net("h36m17")).__name__ == "Net"


@pytest.mark.parametrize("path", ["os.system", "subprocess.Popen", "builtins.eval", "torch.load", "pathlib.Path"])
@pytest.mark.parametrize(
    "field", ["loss_net", "objective", "optimizer", "lr_scheduler", "gradient_penalty", "negatives"]
)
def test_plain_data_make_only_what_the_field_is_for(field, path):
    for named in (path, {"class_path": path, "init_args": {}}):
        value = [named] if field == "negatives" else named
        with pytest.raises(ValueError, match="Expected `seal` to be given anew"):
            SealConfig.of({**SealConfig().plain(), field: value})


# Entries that are missing, in excess, or of another version.
def deep():
    nested = []
    for _ in range(5000):
        nested = [nested]
    return nested


def test_a_newer_format_names_the_version_to_install(written, tmp_path):
    entry = {**written["seal"], "format": FORMAT + 1, "version": "7.8.9"}
    message = rf"have format {FORMAT} or less, got {FORMAT + 1}\. .*seal_lightning 7.8.9, .*install that version"
    for seal in (configuration(), None):
        with pytest.raises(ValueError, match=message):
            SealTinyLifter(seal=seal).on_load_checkpoint({"seal": entry})
    path = save({**written, "seal": {**entry, "settings": {"unknown": 1}}}, tmp_path / "newer.ckpt")
    for route in ("load_from_checkpoint", "checkpoint"):
        with pytest.raises(ValueError, match=message):
            WAYS[route](path, None)


def test_an_entry_without_a_format_has_the_first(written):
    entry = {key: value for key, value in written["seal"].items() if key not in ("format", "version")}
    model = SealTinyLifter(seal=configuration())
    model.on_load_checkpoint({"seal": entry})
    same({"points": outcome(model)["points"]}, {"points": written["outcome"]["points"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: [1, 2], "that of SEAL, with `format` and `criterion`, not list.*take it out of the checkpoint"),
        (lambda entry: None, "that of SEAL, with `format` and `criterion`, not NoneType"),
        (lambda entry: {}, r"not \[\]"),
        (lambda entry: {"animals": 2}, r"not \['animals'\]"),
        (lambda entry: {**entry, "criterion": 3}, "that of SEAL, with `format` and `criterion`"),
        (lambda entry: {**entry, "format": "x"}, "that of SEAL, with `format` and `criterion`"),
        (lambda entry: {**entry, "format": 0}, "that of SEAL, with `format` and `criterion`"),
        (
            lambda entry: {**entry, "criterion": {}},
            "loss-nets to be those that `seal` describes; pass the config.*(?s:.)*Missing",
        ),
        (
            lambda entry: {**entry, "criterion": {}, "settings": {"energies": deep()}},
            r"`energies` is .* and was \[\[(?s:.)*Missing",
        ),
        (lambda entry: {**entry, "criterion": {**entry["criterion"], "x": torch.ones(1)}}, "(?s:.)*Unexpected"),
        (
            lambda entry: {**entry, "criterion": {**entry["criterion"], "_extra_state": {}}},
            "those that `seal` describes",
        ),
        (
            lambda entry: {**entry, "criterion": {**entry["criterion"], "_extra_state": 3}},
            "those that `seal` describes",
        ),
    ],
)
def test_what_is_no_entry_says_what_to_do(change, message, written):
    model = SealTinyLifter(seal=configuration())
    with pytest.raises(ValueError, match=message):
        model.on_load_checkpoint({"seal": change(written["seal"])})


def test_an_unknown_part_is_left_out_with_a_word(written):
    entry = {**written["seal"], "future": 1, "version": "7.8.9"}
    with pytest.warns(UserWarning, match=r"holds \['future'\], which .* leaves out; seal_lightning 7.8.9 wrote it"):
        SealTinyLifter(seal=configuration()).on_load_checkpoint({"seal": entry})


def test_a_checkpoint_of_this_version_is_loaded_without_a_word(written):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SealTinyLifter(seal=configuration()).on_load_checkpoint(written)


def test_a_plain_hosts_checkpoint_starts_the_loss_nets_anew(written):
    with pytest.warns(UserWarning, match="The checkpoint has no entry `seal`: the loss-nets start as they are"):
        SealTinyLifter(seal=configuration()).on_load_checkpoint({"state_dict": written["state_dict"]})


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {**state, "param_groups": state["param_groups"][:1]},
        lambda state: {"state": {}},
        lambda state: 3,
    ],
)
def test_another_optimizers_state_says_what_to_do(change, written):
    model = SealTinyLifter(seal=configuration())
    model.on_load_checkpoint({"seal": {**written["seal"], "optimizer": change(written["seal"]["optimizer"])}})
    with pytest.raises(ValueError, match="state of the loss-nets' optimizer in the checkpoint to fit `optimizer`"):
        _ = model.seal_optimizer


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (partial(torch.optim.SGD, lr=1e-3), "'amsgrad', 'betas'"),
        (partial(torch.optim.Adam, lr=1e-2), r"\['lr'\]"),
        (partial(torch.optim.Adam, lr=1e-3, betas=[0.5, 0.9]), r"\['betas'\]"),
        (partial(torch.optim.Adam, lr=1e-3, betas=[0.9, 0.999]), None),
    ],
)
def test_the_optimizer_that_is_asked_for_goes_over_the_stored_one(optimizer, names, make_trainer, tmp_path):
    asked = {"loss_net": partial(MLPLossNet, hidden=8, stages=1)}
    trainer = make_trainer(max_epochs=1)
    trainer.fit(SealTinyLifter(seal=SealConfig(**asked, optimizer=partial(torch.optim.Adam, lr=1e-3))), loader())
    trainer.save_checkpoint(tmp_path / "adam.ckpt")
    model = SealTinyLifter(seal=SealConfig(**asked, optimizer=optimizer))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(max_epochs=2).fit(model, loader(), ckpt_path=tmp_path / "adam.ckpt")
    told = [str(one.message) for one in caught if "optimizer starts anew" in str(one.message)]
    assert len(told) == (names is not None)
    assert names is None or re.search(names, told[0])
    (group,) = model.seal_optimizer.param_groups
    assert all(group[name] == value for name, value in optimizer.keywords.items() if name != "betas")
    if optimizer.func is torch.optim.Adam:
        assert {int(state["step"]) for state in model.seal_optimizer.state.values()} == {4 if names else 8}


@pytest.mark.parametrize("guard", [3, None, {"skipped": 1, "in_row": 0}, ["skipped"]])
def test_a_guard_of_another_kind_says_what_to_do(guard, written):
    model = SealTinyLifter(seal=configuration())
    with pytest.raises(ValueError, match="Expected `guard` of the checkpoint's `seal` entry to be the counts"):
        model.on_load_checkpoint({"seal": {**written["seal"], "guard": guard}})


def test_settings_of_another_version_say_what_to_do(written, tmp_path):
    changed = {**written["seal"], "settings": {**written["seal"]["settings"], "tomorrow": 1}}
    path = save({**written, "seal": changed}, tmp_path / "newer.ckpt")
    with pytest.raises(ValueError, match=r"`seal` to be given anew, since it cannot be read as it is(?s:.)*tomorrow"):
        SealTinyLifter.load_from_checkpoint(path)
    same(outcome(SealTinyLifter.load_from_checkpoint(path, seal=configuration())), written["outcome"])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "Expected `checkpoint` to be the path of a file, but there is none"),
        (b"", ValueError, "it cannot be read"),
        (b"PK\x03\x04 not a zip file", ValueError, "it cannot be read"),
        (b"a text", ValueError, "it cannot be read"),
        ("cut", ValueError, "it cannot be read"),
        ({"state_dict": {}}, ValueError, "has no entry `seal`. A plain host's checkpoint has none"),
        ([1], ValueError, "has no entry `seal`"),
        ({"seal": 3}, ValueError, "that of SEAL, with `format` and `criterion`, not int"),
        ({"x": torch.ones(1)}, ValueError, "loss-nets to be those that `seal` describes"),
    ],
)
def test_a_file_to_take_loss_nets_from(content, error, message, written, tmp_path):
    path = tmp_path / "some.ckpt"
    if content == "cut":
        content = Path(save(written, tmp_path / "whole.ckpt")).read_bytes()[:-5000]
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save(content, path)
    with pytest.raises(error, match=message):
        SealTinyLifter(seal=configuration(checkpoint=path))


def test_a_saved_criterion_will_do(tmp_path):
    config = SealConfig(loss_net=partial(MLPLossNet, hidden=8, stages=1))
    saved = SealLoss(config.skeleton, config.terms(), seed=9)
    path = save(saved.state_dict(), tmp_path / "criterion.pt")
    model = SealTinyLifter(seal=SealConfig(loss_net=config.loss_net, mode="static", checkpoint=path))
    for mine, theirs in zip(model.seal.parameters(), saved.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@settings(max_examples=150)
@given(st.binary(max_size=100), st.sampled_from([b"", b"\x80\x02", b"\x80\x02}q\x00", b"PK\x03\x04", b"(dp0\n"]))
def test_any_bytes_are_no_checkpoint(content, start):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "some.ckpt")
        path.write_bytes(start + content)
        with pytest.raises(ValueError, match="Expected `checkpoint` to"):
            read_entry(str(path))


def test_loss_nets_that_are_not_finite_are_told(written, tmp_path):
    name = next(key for key, value in written["seal"]["criterion"].items() if getattr(value, "ndim", 0) == 2)
    written["seal"]["criterion"][name][0] = torch.nan
    path = save(written, tmp_path / "broken.ckpt")
    with pytest.warns(
        UserWarning, match=f"'{re.escape(name)}' of the loss-nets in the checkpoint holds NaN or infinity"
    ):
        again = SealTinyLifter.load_from_checkpoint(path)
    assert all(torch.equal(value, written["state_dict"][key]) for key, value in again.state_dict().items())
    with pytest.raises(ValueError, match=r"^Expected `checkpoint` to hold loss-nets of finite numbers, but '.*broken"):
        SealTinyLifter(seal=replace(configuration(), checkpoint=path))
