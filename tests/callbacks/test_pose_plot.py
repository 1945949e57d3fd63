"""`PosePlot` gives every logger its picture, and only when its turn has come."""

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from seal_lightning import SealMixin
from seal_lightning.callbacks import PosePlot
from tests import hosts


class SealHost(SealMixin, hosts.ForwardHost):
    pass


class SealSequenceHost(SealMixin, hosts.SequenceHost):
    pass


@pytest.mark.parametrize("model", [SealHost, SealSequenceHost])
def test_files_for_a_logger_with_a_directory(make_trainer, tmp_path, model):
    logger = CSVLogger(tmp_path, name="run", version=0)
    trainer = make_trainer(max_epochs=3, logger=logger, callbacks=[PosePlot(every_n_epochs=2, poses=2)])
    trainer.fit(model(), model.loader(), model.loader())
    pictures = sorted(path.name for path in (tmp_path / "run" / "version_0").glob("*.png"))
    assert pictures == ["poses-18.png", "poses-6.png"]


def test_tensorboard(make_trainer, tmp_path, monkeypatch):
    added = []
    logger = TensorBoardLogger(tmp_path)
    monkeypatch.setattr(type(logger.experiment), "add_figure", lambda self, *args: added.append(args))
    make_trainer(max_epochs=1, logger=logger, callbacks=[PosePlot()]).fit(
        SealHost(), SealHost.loader(), SealHost.loader()
    )
    ((name, figure, step),) = added
    assert (name, step) == ("poses", 6)
    assert len(figure.axes) == 8


def test_weights_and_biases(make_trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the process that wandb starts stays where it began, and writes what later runs print
    logged = []
    logger = WandbLogger(save_dir=str(tmp_path), offline=True)
    monkeypatch.setattr(logger, "log_image", lambda *args, **kwargs: logged.append((args, kwargs)))
    make_trainer(max_epochs=1, logger=logger, callbacks=[PosePlot(poses=1)]).fit(
        SealHost(), SealHost.loader(), SealHost.loader()
    )
    (((name, (figure,)), options),) = logged
    assert (name, options) == ("poses", {"step": 6})
    assert len(figure.axes) == 2


@pytest.mark.parametrize("argument", ["every_n_epochs", "poses"])
def test_errors(argument):
    with pytest.raises(ValueError, match=f"Expected `{argument}` to be 1 or more, but got 0"):
        PosePlot(**{argument: 0})
