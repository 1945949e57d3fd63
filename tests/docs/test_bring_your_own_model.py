"""The page on bringing one's own model, word for word: its code runs, and each of its models trains."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from seal_lightning import SealMixin
from tests import hosts

PAGE = Path(__file__).resolve().parents[2] / "docs/bring-your-own-model.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def pairs(x, y, i):
    return x, y


def twenty_one(x, y, i):
    more = torch.arange(4)
    return torch.cat([x, x[more]]), torch.cat([y, y[more]])


BATCHES = {
    "SealLifter": {"pack": pairs},
    "SealResidualLifter": {"pack": pairs},
    "SealFlippingLifter": {"pack": pairs},
    "SealNormalisedLifter": {"pack": pairs},
    "SealGanLifter": {"pack": pairs},
    "SealSamLifter": {"pack": pairs},
    "SealDiffusionLifter": {"pack": pairs},
    "SealImageLifter": {"pack": lambda x, y, i: (torch.full((3, 8, 8), 0.1 * i), y)},
    "SealBodyLifter": {"pack": twenty_one},
    "SealHandLifter": {
        "pack": lambda x, y, i: (*twenty_one(x, y if i % 2 else y * torch.nan, i), torch.tensor(bool(i % 2)))
    },
}


def loader(pack, frames=None):
    return DataLoader(hosts.Poses(pack, count=16, frames=frames), batch_size=8)


@pytest.fixture
def page(make_trainer, tmp_path, monkeypatch):
    """The page's names, with the trainer that its part on checkpoints speaks of, and what each model logged."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("bring_your_own_model")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = vars(module)
    logged = {}
    for block in BLOCKS:
        before = set(names)
        exec(compile(block, str(PAGE), "exec"), names)
        for name in sorted(set(names) - before):
            if name in BATCHES:
                trainer = make_trainer(max_steps=2)
                model = names[name]()
                start = [parameter.clone() for parameter in model.parameters()]
                trainer.fit(model, loader(**BATCHES[name]))
                assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
                moved = [not torch.equal(a, b) for a, b in zip(start, model.parameters(), strict=True)]
                logged[name] = (dict(trainer.callback_metrics), model.seal.draws - 1, any(moved))
                names.setdefault("trainer", trainer)
    return types.SimpleNamespace(names=names, logged=logged)


def test_every_model_of_the_page_trains_and_feels_the_energy(page):
    seal_classes = [name for name, value in page.names.items() if name.startswith("Seal") and name.endswith("Lifter")]
    assert set(seal_classes) == set(BATCHES) == set(page.logged)
    for name, (metrics, updates, moved) in page.logged.items():
        steps = 1 if name == "SealGanLifter" else 2  # Lightning counts the steps of both optimizers
        assert (updates, moved) == (steps, True), name
        assert metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02), name


def test_the_table_names_the_keys_that_are_logged(page):
    keys = set(re.findall(r"^\| `(seal/\w+)`", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    metrics, _, _ = page.logged["SealLifter"]
    assert keys == {key for key in metrics if key.startswith("seal/")}
    assert set(metrics) - keys == {"train_loss"}


def test_checkpoints_are_what_the_page_says(page):
    names = page.names
    assert not hasattr(names["plain"], "seal")
    state = names["again"].state_dict()
    assert all(torch.equal(value, state[key]) for key, value in names["plain"].state_dict().items())
    assert names["again"].seal.draws == 3
    assert not any(parameter.requires_grad for parameter in names["frozen"].seal.parameters())
    for kept, trained in zip(names["frozen"].seal.parameters(), names["again"].seal.parameters(), strict=True):
        assert torch.equal(kept, trained)


@pytest.mark.parametrize("settings", ["gentle", "fast", "several"])
def test_the_settings_of_the_page_train(page, make_trainer, settings):
    model = page.names["SealLifter"](seal=page.names[settings])
    trainer = make_trainer(max_steps=2)
    trainer.fit(model, loader(pairs))
    assert model.seal.draws == 3
    assert (trainer.callback_metrics["seal/weight"] == 0) == (settings == "gentle")
    assert list(model.seal.energies) == (["graph", "linear"] if settings == "several" else ["energy_0"])


def test_the_unnormalised_poses_are_the_ones_that_are_ranked(page):
    model = page.names["SealNormalisedLifter"]()
    x, y = next(iter(loader(pairs)))
    model.training_step((x, y), 0)
    torch.testing.assert_close(model.seal_captured.target, y * model.std + model.mean)
    torch.testing.assert_close(model.seal_captured.keypoints_2d, x)


def test_a_host_on_pytorch_lightning_trains(tmp_path):
    pl = pytest.importorskip("pytorch_lightning")

    class Host(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = hosts.net()

        def training_step(self, batch, batch_idx):
            x, y = batch
            return (self.net(x) - y).abs().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    class SealHost(SealMixin, Host):
        pass

    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_steps=2, enable_model_summary=False, default_root_dir=str(tmp_path), **options)
    trainer.fit(SealHost(), loader(lambda x, y, i: (x, y.flatten())))
    assert trainer.callback_metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02)
