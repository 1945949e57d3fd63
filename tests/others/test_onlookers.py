"""Callbacks of other people that look on at a training: they see the host, whatever its style, and no loss-net."""

from datetime import timedelta

import pytest
import torch

from tests.others.others import STYLES, csv_rows, recorder, three


def learning_rate_monitor(library, folder):
    """The host's optimizer is the only one that there is to be seen."""
    callback = library.callbacks.LearningRateMonitor("step", log_momentum=True)
    logger = library.loggers.CSVLogger(folder)

    def effect(run):
        falling = [1e-2 * 0.5**step for step in range(8)]
        rates = falling if run.model.automatic_optimization else [1e-2] * 8  # by hand, the host would step it
        assert callback.lrs == {"lr-Adam": rates}
        assert [float(row["lr-Adam"]) for row in csv_rows(logger) if row["lr-Adam"]] == rates

    return {"callbacks": [callback], "logger": logger, "log_every_n_steps": 1}, effect


class Scheduled:
    """Before a host: halves the learning rate after every step."""

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def model_summary(library, folder):
    """The host's own parameters are all that is counted."""
    tables = []

    class Kept(library.callbacks.ModelSummary):
        @staticmethod
        def summarize(*table, **more):
            tables.append(table)

    def effect(run):
        ((rows, total, *_),) = tables
        assert total == sum(value.numel() for value in run.model.parameters())
        return rows

    return {"callbacks": [Kept(max_depth=2)], "enable_model_summary": True}, effect


def timer(library, folder):
    callback = library.callbacks.Timer(timedelta(hours=1), "epoch")

    def effect(run):
        assert callback.time_elapsed("train") > 0 < callback.time_remaining("train") < 3600

    return {"callbacks": [callback]}, effect


def tqdm_bar(library, folder):
    callback = library.callbacks.TQDMProgressBar()

    def effect(run):
        assert (callback.train_progress_bar.n, callback.train_progress_bar.total) == (4, 4)
        return sorted(callback.get_metrics(run.trainer, run.model))

    return {"callbacks": [callback], "enable_progress_bar": True}, effect


def rich_bar(library, folder):
    pytest.importorskip("rich", reason="RichProgressBar needs rich")
    callback = library.callbacks.RichProgressBar()

    def look(trainer, model):
        return next(bar.completed for bar in callback.progress.tasks if bar.id == callback.train_progress_bar_id)

    watch = recorder(library, look)

    def effect(run):
        assert watch.seen == [1, 2, 3, 4, 1, 2, 3, 4]
        return sorted(callback.get_metrics(run.trainer, run.model))

    return {"callbacks": [callback, watch], "enable_progress_bar": True}, effect


def device_stats(library, folder):
    pytest.importorskip("psutil", reason="DeviceStatsMonitor needs psutil on a CPU")
    logger = library.loggers.CSVLogger(folder)

    def effect(run):
        columns = set(csv_rows(logger)[0])
        assert "DeviceStatsMonitor.on_train_batch_end/cpu_vm_percent" in columns
        return sorted(name for name in columns if not name.startswith("seal/"))

    return {"callbacks": [library.callbacks.DeviceStatsMonitor()], "logger": logger, "log_every_n_steps": 1}, effect


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "case", [model_summary, timer, tqdm_bar, rich_bar, device_stats], ids=lambda case: case.__name__
)
def test_a_callback_looks_on(case, style, tmp_path):
    three(style, case, tmp_path)


@pytest.mark.parametrize("style", STYLES)
def test_a_schedule_is_watched(style, tmp_path):
    three(style, learning_rate_monitor, tmp_path, Scheduled)
