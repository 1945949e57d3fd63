"""Reports the poses of a test: errors by group, with those of the worst poses, and scores that need no true poses."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from seal_lightning.callbacks._label_free import LabelFreeScores
from seal_lightning.callbacks._trust_scores import KEPT, TrustScores
from seal_lightning.callbacks.error_estimate import ErrorEstimate
from seal_lightning.evaluation.calibration import Bin
from seal_lightning.evaluation.files import versions
from seal_lightning.evaluation.groups import group_masks, macro_average
from seal_lightning.evaluation.scoring import PoseScorer
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.training.batch import SealBatch
from seal_lightning.training.mixin import SealMixin
from seal_lightning.training.observed import StepName, StepObserver

__all__ = ["PoseReport"]

_COLUMNS = {
    "mpjpe": ("MPJPE", 1),
    "mpjpe_p90": ("p90", 1),
    "mpjpe_p95": ("p95", 1),
    "mpjpe_p99": ("p99", 1),
    "mpjpe_cvar95": ("CVaR95", 1),
    "p_mpjpe": ("P-MPJPE", 1),
    "asymmetry_error": ("asymmetry", 1),
    "body_segment_length_error": ("BSLE %", 2),
    "limb_length_error": ("LLE %", 2),
}
_LABEL_FREE = {
    "limb_symmetry_error": ("LSE %", 2),
    "bone_length_variation": ("bone variation %", 2),
    "reprojection_error": ("reprojection %", 2),
}


_TRUST = {
    "auroc": ("AUROC of the worst tenth", 3),
    **{f"risk_{100 * kept:.0f}": (f"error of {100 * kept:.0f} %", 1) for kept in KEPT},
    "bias": ("bias %", 1),
    "covered": ("below bound %", 1),
}


class PoseReport(Callback):
    """Reports on the poses that a model predicts in ``seal-lightning test`` and ``validate``.

    Two tables are printed. Both have one line for every group ("dataset/skeleton"), one for every dataset, and one for
    the mean over the datasets, each with the same weight.

    - Errors against the true poses, in millimetres and percent. Beside the mean MPJPE they show its 90th, 95th and 99th
      percentile over the poses, and its mean over the worst 5 % of them.
    - Scores that need no true poses: the limb symmetry error, how much bone lengths vary over the poses of a group
      (`bone_length_variation`, which makes sense where a group is one person), and the `reprojection_error`. What the
      true poses score themselves stands beside them where they are known.

    Where the trainer has an `ErrorEstimate` too, a third table says how well its estimates tell the errors of the poses
    that it judges, beside free scores (`free_scores`): the AUROC of the worst tenth, and the mean error in millimetres
    of the 100, 95, ... % of the poses that a score trusts most (risk against coverage); of the estimate also the bias,
    and how many errors are below their bound. A fourth has the mean errors of poses with similar estimates.

    All numbers are written to ``pose_report_test.json`` and ``.csv`` (``pose_report_validate`` likewise); those of the
    datasets and of the mean are also logged, as ``report/...``. Batches without a target and samples that are not
    labelled count in the second table only.

    Keypoints, prediction and target are those that a SealMixin captures. In the step of any other model they are found
    in the same way, as long as there is only one way to read it. The callback does nothing in ``fit``.

    Args:
        output: Directory of the two files; None means that of the run's logs. Files that are there already are kept,
            and the new ones get ``-2``, ``-3``, ... at the end of their names.
        unit: Unit of the poses, "m" or "mm"; None means the ``unit`` of the datamodule.
        joints: Names of the joints to score, for data that have only some joints of the model's skeleton; None means
            all. A bone is scored where both of its ends are named.
        focal: Focal length in the unit of the keypoints, for reprojection through a pinhole camera whose axis meets the
            image at the origin of the keypoints. None reprojects by weak perspective.
        skeleton: Skeleton of the poses; None means that of a SealMixin, or the datamodule's for any other model.

    Raises:
        ValueError: When the test starts, if there are several processes, a joint is unknown, the root is not among the
            joints, or no skeleton or unit can be found.

    Example:
        >>> import lightning as L
        >>> trainer = L.Trainer(callbacks=[PoseReport()], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        output: str | None = None,
        unit: Literal["m", "mm"] | None = None,
        joints: list[str] | None = None,
        focal: float | None = None,
        skeleton: str | Skeleton | None = None,
    ) -> None:
        if unit not in (None, "m", "mm"):
            raise ValueError(f"Expected `unit` to be 'm', 'mm' or None, but got {unit!r}.")
        if focal is not None and not 0.0 < focal < math.inf:
            raise ValueError(f"Expected `focal` to be above zero, but got {focal!r}.")
        self.output, self.unit, self.joints, self.focal = output, unit, joints, focal
        self.skeleton = None if skeleton is None else get_skeleton(skeleton)
        self.scores: dict[str, dict[str, dict[str, float]]] = {}
        self._scorer: PoseScorer | None = None
        self._label_free: LabelFreeScores | None = None
        self._estimate: ErrorEstimate | None = None
        self._trust: TrustScores | None = None
        self._mask: Tensor | None = None
        self._observer: StepObserver | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check before the test that its poses can be scored."""
        if stage not in ("validate", "test"):
            return
        if trainer.world_size > 1:
            raise ValueError(
                f"Expected PoseReport to run in one process, but got {trainer.world_size}: with several, Lightning "
                "gives some samples to two of them. Set `trainer.devices` to 1."
            )
        data: Any = getattr(trainer, "datamodule", None)
        own = pl_module.seal if isinstance(pl_module, SealMixin) else data
        skeleton = self.skeleton or getattr(own, "skeleton", None)
        if skeleton is None:
            raise ValueError("Expected a `skeleton` where neither model nor datamodule has one, but got None.")
        self._skeleton = get_skeleton(skeleton)
        self._mask = _mask(self.joints, self._skeleton)
        unit = self.unit or getattr(data, "unit", None)
        if unit not in ("m", "mm"):
            raise ValueError(f"Expected `unit` to be 'm' or 'mm' where the datamodule has none, but got {unit!r}.")
        names = getattr(data, "group_names", None)
        self._scorer = PoseScorer("m" if unit == "m" else "mm", names)
        self._label_free = LabelFreeScores(self._skeleton, self.focal)
        callbacks: list[Any] = getattr(trainer, "callbacks", [])
        self._estimate = next((callback for callback in callbacks if isinstance(callback, ErrorEstimate)), None)
        self._observer = StepObserver(self._skeleton)
        self.scores = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the scores of estimated errors, now that the state of an `ErrorEstimate` is there."""
        if self._scorer is not None and self._estimate is not None:
            self._trust = TrustScores(self._skeleton, self._scorer.factor, self._estimate.training_poses)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As in validation."""
        self.on_validation_start(trainer, pl_module)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look at the step."""
        self._look(pl_module, "validation_step")

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look at the step."""
        self._look(pl_module, "test_step")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Score a validation batch."""
        self._score(pl_module, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Score a test batch."""
        self._score(pl_module, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print, log and write the report of a validation."""
        self._report(trainer, pl_module, "validate")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print, log and write the report of a test."""
        self._report(trainer, pl_module, "test")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Drop the metrics, which hold memory; `scores` stay."""
        self._leave()
        self._scorer = self._label_free = self._mask = self._estimate = self._trust = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a step alone that was never called."""
        self._leave()

    def _look(self, module: Any, name: StepName) -> None:
        if self._observer is not None and not isinstance(module, SealMixin):  # which looks at its steps itself
            self._observer.watch(module, name)

    def _leave(self) -> None:
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def _score(self, module: Any, batch: Any) -> None:
        if self._scorer is None or self._label_free is None:
            return
        captured = module.seal_captured if isinstance(module, SealMixin) else self._read(module)
        if self._mask is not None:
            mask = self._mask.to(captured.prediction.device).expand(captured.prediction.shape[:-1])
            seen = mask if captured.visibility is None else captured.visibility.bool() & mask
            captured = replace(captured, visibility=seen)
        everything = torch.ones(len(captured.prediction), dtype=torch.bool, device=captured.prediction.device)
        for name, members in group_masks(batch, self._scorer.group_names, everything).items():
            self._label_free.update(name, captured, members)
        if captured.target is not None:
            self._scorer.score(captured, self._skeleton, batch)
        estimated = None if self._estimate is None else self._estimate.estimated(module)
        if estimated is not None and self._trust is not None:
            self._trust.add(group_masks(batch, self._scorer.group_names, everything), estimated)

    def _read(self, module: Any) -> SealBatch:
        """What the step that was watched predicted."""
        observed = None if self._observer is None else self._observer.read(module)
        if observed is None:
            raise ValueError("Expected a prediction to meet a truth in this step, but none did.")
        return observed.read

    def _report(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._scorer is None or self._label_free is None:
            return
        errors = macro_average(self._scorer.scores())[0] if self._scorer.metrics else {}
        label_free = macro_average(self._label_free.compute())[0]
        found, bins = ({}, []) if self._trust is None else self._trust.compute()
        trust = macro_average(found)[0] if found else {}
        self.scores = {"errors": errors, "label_free": label_free, **({"trust": trust} if trust else {})}
        datasets = {name.split("/")[0] for name in label_free if "/" in name}
        scopes = [name for name in label_free if name == "mean" or name in datasets]
        for scope in scopes:
            prefix = "report" if scope == "mean" else f"report/{scope}"
            both = label_free[scope] | errors.get(scope, {})
            pl_module.log_dict({f"{prefix}/{name}": value for name, value in both.items()})
        print("\n" + self._text(errors, label_free))
        if trust:
            print("\n" + _trust_text(trust["mean"], bins))
        directory = Path(self.output or trainer.log_dir or trainer.default_root_dir)
        path = _free(directory, f"pose_report_{stage}")
        stamp = {"joints": self.joints, "focal": self.focal, "versions": versions()}
        calibration = {"calibration": [part._asdict() for part in bins]} if bins else {}
        content = json.dumps(_finite({**stamp, **self.scores, **calibration}), indent=1, allow_nan=False) + "\n"
        _write(path.with_suffix(".json"), content)
        _write_csv(path.with_suffix(".csv"), self.scores)
        print(f"\nWritten to {path}.json and {path.name}.csv")

    def _text(self, errors: Mapping[str, Mapping[str, float]], label_free: Mapping[str, Mapping[str, float]]) -> str:
        which = "all joints" if self.joints is None else f"{len(self.joints)} joints: {', '.join(self.joints)}"
        camera = "weak perspective" if self.focal is None else f"a pinhole of focal length {self.focal:g}"
        truth = {f"truth_{name}": (f"truth's {title}", digits) for name, (title, digits) in _LABEL_FREE.items()}
        parts = [f"Scores without truth ({which}; reprojected by {camera})", _table(label_free, _LABEL_FREE | truth)]
        if errors:
            parts = [f"Errors in mm, or where it says so in % ({which})", _table(errors, _COLUMNS), *parts]
        return "\n\n".join(parts)


def _trust_text(values: Mapping[str, float], bins: Sequence[Bin]) -> str:
    """Two tables: of the estimate and of every free score, and of poses with similar estimates."""
    scores: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        name, _, metric = key.partition("/")
        scores.setdefault(name, {})[metric] = value
    similar = {
        f"bin {number}": {"estimate": part.estimate, "error": part.error, "poses": float(part.poses)}
        for number, part in enumerate(bins, 1)
    }
    columns = {"estimate": ("estimated, mm", 1), "error": ("error, mm", 1), "poses": ("poses", 0)}
    parts = ["How well errors are known beforehand (mean over the datasets; errors in mm)", _table(scores, _TRUST)]
    return "\n\n".join([*parts, "Estimated and true errors of poses with similar estimates", _table(similar, columns)])


def _mask(joints: Sequence[str] | None, skeleton: Skeleton) -> Tensor | None:
    if joints is None:
        return None
    if unknown := sorted(set(joints) - set(skeleton.names)):
        raise ValueError(f"Expected `joints` to be joints of the model, {list(skeleton.names)}, but got {unknown}.")
    roots = [skeleton.names[joint] for joint in skeleton.root_joints]
    if absent := [name for name in roots if name not in joints]:
        raise ValueError(f"Expected `joints` to hold the root {roots}, which poses are aligned to, but {absent} lacks.")
    return torch.tensor([name in joints for name in skeleton.names])


def _table(scopes: Mapping[str, Mapping[str, float]], columns: Mapping[str, tuple[str, int]]) -> str:
    """A Markdown table with aligned columns, one line per scope."""
    shown = {name: column for name, column in columns.items() if any(name in scores for scores in scopes.values())}
    rows = [["", *(title for title, _ in shown.values())]]
    for scope, scores in scopes.items():
        values = [scores.get(name, math.nan) for name in shown]
        digits = [digits for _, digits in shown.values()]
        cells = ["-" if math.isnan(value) else f"{value:.{n}f}" for value, n in zip(values, digits, strict=True)]
        rows.append([f"**{scope}**" if "/" not in scope else scope, *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [
        [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _free(directory: Path, stem: str) -> Path:
    """A path in the directory, without suffix, at which there is neither a json nor a csv file yet."""
    path, number = directory / stem, 1
    while path.with_suffix(".json").exists() or path.with_suffix(".csv").exists():
        number += 1
        path = directory / f"{stem}-{number}"
    directory.mkdir(parents=True, exist_ok=True)
    return path


def _write(path: Path, content: str) -> None:
    """Write a file completely or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(content)
    os.replace(part, path)


def _write_csv(path: Path, scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "scope", "metric", "value"])
        for kind, scopes in scores.items():
            for scope, values in scopes.items():
                writer.writerows([kind, scope, name, repr(value)] for name, value in values.items())
    os.replace(part, path)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
