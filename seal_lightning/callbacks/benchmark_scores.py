"""The scores of a benchmark, in the form in which papers print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from seal_lightning.callbacks._benchmark_tables import TABLES, ScoreSums, Table
from seal_lightning.training.mixin import SealMixin

__all__ = ["BenchmarkScores"]

_MILLIMETRES = {"mm": 1.0, "m": 1000.0}
_TOTAL = "average"


class BenchmarkScores(Callback):
    """Prints and logs the scores of Human3.6M, MPI-INF-3DHP or H3WB in the test, as papers report them.

    The data module says which benchmark it is. Errors are in millimetres, PCK and AUC in percent:

    - Human3.6M: ``mpjpe``, aligned at the hip, and ``p_mpjpe`` for every action; the average counts every action the
      same.
    - MPI-INF-3DHP: ``pck`` below 150 mm and ``pck_auc`` (0 to 150 mm in steps of 5) over the 14 joints of the official
      script, and ``mpjpe`` over all 17, aligned at the pelvis, for every scene; the average is over all valid frames.
    - H3WB: ``whole_body``, ``body`` (with the feet), ``face`` and ``hands``, aligned at the pelvis;
      ``face_nose_aligned``, and ``hands_wrist_aligned``, each hand at its own wrist.

    The average is logged as ``test/<benchmark>/<score>``, other rows as ``test/<benchmark>/<row>/<score>``, and all
    stay in ``scores``, by row and score. Averages are exact on any number of processes. The poses are those that SEAL
    captures in the test step, so the model must be a SealMixin; the checkpoint of a plain host loads into its SEAL
    subclass.

    Attributes:
        scores: Values by row, then by score, of the last test.

    Example:
        >>> import lightning as L
        >>> trainer = L.Trainer(callbacks=[BenchmarkScores()], logger=False, enable_checkpointing=False)
    """

    def __init__(self) -> None:
        self.scores: dict[str, dict[str, float]] = {}
        self._sums = ScoreSums(0, ())
        self._rows: list[str] = []
        self._factor = 1.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check before the test that model and data can be scored.

        Raises:
            TypeError: If the model is not a SealMixin, or the data module is not that of a benchmark.
        """
        if stage != "test":
            return
        if not isinstance(pl_module, SealMixin):
            raise TypeError(
                f"Expected the model of BenchmarkScores to be a SealMixin, but got {type(pl_module).__name__}. Make "
                "`class SealModel(SealMixin, Model)`; checkpoints of the plain model load into it."
            )
        self._table(trainer)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with empty sums.

        Raises:
            ValueError: If the loader gives a sample to more than one process.
        """
        table, data = self._table(trainer), _data(trainer)
        self._check_loader(trainer)
        self._rows = list(data.action_names) if table.per_action else ["all"]
        self._sums = ScoreSums(len(self._rows), list(table.columns.values())).to(pl_module.device)
        self._factor = _MILLIMETRES[data.unit]

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Score one batch.

        Raises:
            ValueError: If it has no true poses, or a visibility that does not fit them.
        """
        captured = cast(SealMixin, pl_module).seal_captured
        if captured.target is None:
            raise ValueError(
                "Expected `seal_batch` to return a `target` in the test for BenchmarkScores, but got None."
            )
        prediction = captured.prediction.detach().float()
        visibility = batch.get("visibility") if captured.visibility is None else captured.visibility
        visibility = torch.ones_like(prediction[..., 0], dtype=torch.bool) if visibility is None else visibility.bool()
        if visibility.shape != prediction.shape[:-1]:
            raise ValueError(
                f"Expected `visibility` to be {tuple(prediction.shape[:-1])} like the prediction, but got "
                f"{tuple(visibility.shape)}. Let `seal_batch` return it."
            )
        if captured.labelled is not None:
            visibility = visibility & captured.labelled.view(-1, *[1] * (visibility.dim() - 1))
        row = batch["action"] if len(self._rows) > 1 else torch.zeros_like(batch["action"])
        row = row.view(-1, *[1] * (prediction.dim() - 3)).expand(prediction.shape[:-2]).flatten()
        poses = [(pose * self._factor).flatten(0, -3) for pose in (prediction, captured.target.float())]
        self._sums.update(poses[0], poses[1], visibility.flatten(0, -2), row)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and log the scores of all processes."""
        table, name = self._table(trainer), _data(trainer).benchmark
        total, count = (sums.double().cpu() for sums in self._sums.compute())
        found = count.amax(dim=1) > 0
        if not found.any():
            raise ValueError("Expected the test to yield poses to score, but got none.")
        values = total / count
        average = values[found].nanmean(dim=0) if table.total == "actions" else total.sum(dim=0) / count.sum(dim=0)
        rows = {row: values[index] for index, row in enumerate(self._rows) if found[index] and table.per_action}
        self.scores = {
            row: dict(zip(table.columns, scores.tolist(), strict=True))
            for row, scores in (rows | {_TOTAL: average}).items()
        }
        for row, scores in self.scores.items():
            prefix = f"test/{name}" if row == _TOTAL else f"test/{name}/{row}"
            # The values are equal on all processes, but without `sync_dist` Lightning would warn that they may differ.
            logged = {f"{prefix}/{score}": value for score, value in scores.items()}
            pl_module.log_dict(logged, sync_dist=True, batch_size=1)
        if trainer.is_global_zero:
            print(format_scores(self.scores, name))

    def _table(self, trainer: Trainer) -> Table:
        name = getattr(_data(trainer), "benchmark", None)
        if name not in TABLES:
            raise TypeError(
                f"Expected the data module of BenchmarkScores to be of a benchmark, {sorted(TABLES)}, but got "
                f"{type(_data(trainer)).__name__}."
            )
        return TABLES[name]

    def _check_loader(self, trainer: Trainer) -> None:
        """Refuse a sampler that repeats samples, as Lightning's own does to give all processes the same number."""
        if trainer.world_size == 1:
            return
        loaders: Any = trainer.test_dataloaders
        for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
            sampler = getattr(loader, "sampler", None)
            if getattr(sampler, "total_size", None) != len(loader.dataset):
                raise ValueError(
                    f"Expected the test loader to give every sample to one of {trainer.world_size} processes, but its "
                    f"sampler, {type(sampler).__name__}, repeats some: averages would not be exact. Test on one device."
                )


def format_scores(scores: Mapping[str, Mapping[str, float]], title: str) -> str:
    """Format scores as a table, one line per row.

    Example:
        >>> print(format_scores({"Eating": {"mpjpe": 48.25}, "average": {"mpjpe": 50.0}}, "human36m"))
        human36m     mpjpe
        Eating       48.25
        average      50.00
    """
    columns = list(next(iter(scores.values())))
    width = max(len(title), *map(len, scores))
    lines = [title.ljust(width) + "".join(f"  {column:>8}" for column in columns)]
    for row, values in scores.items():
        cells = (f"  {values[column]:>{max(8, len(column))}.2f}" for column in columns)
        lines.append(row.ljust(width) + "".join(cells))
    return "\n".join(lines)


def _data(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]
