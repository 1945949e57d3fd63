"""Optional packages: each belongs to an extra, and what misses one says so when it is set up."""

import configparser
import re
import sys
from pathlib import Path

import pytest

from seal_lightning import SealMixin
from seal_lightning._extras import _EXTRAS, require
from seal_lightning.callbacks import PosePlot
from seal_lightning.plotting import check_animation, plot_lifting, plot_poses
from tests import hosts

ROOT = Path(__file__).parents[1]


def test_extras_are_those_of_the_setup():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    for package, extra in _EXTRAS.items():
        assert re.match(rf"\s*{package}>=", setup["options.extras_require"][extra])


@pytest.mark.parametrize(("package", "extra"), sorted(_EXTRAS.items()))
def test_a_missing_package_names_its_extra(package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    wanted = rf"^Expected {package} to be installed for a test; get it with: pip install 'seal_lightning\[{extra}\]'$"
    with pytest.raises(ModuleNotFoundError, match=wanted) as raised:
        require(package, "a test")
    assert raised.value.name == package


def test_a_package_that_misses_one_of_its_own_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "scipy.py").write_text("import no_such_module")
    monkeypatch.delitem(sys.modules, "scipy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_module'$"):
        require("scipy", "a test")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_poses({"a": hosts.torch.zeros(17, 3)}, "h36m17"),
        lambda: plot_lifting(hosts.torch.zeros(1, 17, 3), hosts.torch.zeros(1, 17, 2), "h36m17"),
        lambda: check_animation(".gif"),
    ],
    ids=["figure", "lifting", "animation"],
)
def test_pictures_need_matplotlib(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'seal_lightning\[plot\]'"):
        draw()


class SealHost(SealMixin, hosts.ForwardHost):
    def training_step(self, batch, batch_idx):
        raise AssertionError("It has trained before anybody was told.")


def test_pose_plot_asks_for_matplotlib_before_the_training(make_trainer, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    trainer = make_trainer(callbacks=[PosePlot()], num_sanity_val_steps=0)
    with pytest.raises(ModuleNotFoundError, match="for the pictures of PosePlot; get it with"):
        trainer.fit(SealHost(), SealHost.loader(), SealHost.loader())


def test_pose_plot_draws_nothing_in_a_test_and_needs_nothing_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    PosePlot().setup(None, None, "test")
