"""The options of ``compare`` that a ``fit`` does not have."""

from __future__ import annotations

from typing import Any, Literal

from seal_lightning.training.config import SealConfig
from seal_lightning.training.mixin import SealMixin

__all__ = ["DESCRIPTION", "add_arguments"]

DESCRIPTION = """Train a model and its SEAL subclass on the same data, seeds and steps, score both alike, and report.

Takes the config of a `fit` (trainer, model, data; logging and checkpoints stay off unless asked for). All methods of a
seed start from the same weights and see the same batches; the final weights are scored. Results are written after every
training, and a comparison that was stopped goes on with `--resume`."""

_HELP = {
    "seal": "The SEAL training.",
    "seal_model": "SEAL subclass of the model, for hosts that need a `seal_batch` of their own; made if not given.",
    "seeds": "Seeds: one training of every method for each, also the `seed` of SEAL and of a datamodule with one.",
    "weights": "Weights of SEAL to compare, each with a training of its own for every seed: ratios where `seal.weight` "
    "is a ForceRatio, as it is by default. The verdict is on the one that is best on validation data.",
    "rivals": "What else to train the host with, for every seed: losses that ask for left bones as long as right ones, "
    "for bones as long as the true ones, or for poses within the principal components of the training poses; or random "
    "bone lengths, for a datamodule with an `augmentation`. SEAL is compared with the best of them, too.",
    "rival_weight": "Weight of the rivals' losses, whose unit is that of the poses. The default suits a host whose "
    "loss is the mean distance of joints.",
    "host_checkpoint": "Checkpoint of the host whose weights all trainings start from; they train on, each with a new "
    "optimizer.",
    "split": "The data to score on.",
    "unit": "Unit of the poses; the datamodule's `unit` if not given.",
    "report": "Write report.html, a page for the browser with everything in it (needs plotly). Not given: where plotly "
    "is installed.",
    "output": "Directory for the results; if it exists, a number is added to its name.",
    "resume": "Directory of a comparison that was stopped: goes on there, and skips what is finished.",
}


def add_arguments(parser: Any) -> None:
    """Add the options to the parser of a fit."""

    def add(name: str, kind: Any, default: Any = None, **options: Any) -> None:
        parser.add_argument(f"--{name}", type=kind, default=default, help=_HELP[name], **options)

    add("seal", SealConfig, SealConfig())
    add("seal_model", type[SealMixin] | None)
    add("seeds", int, [0, 1, 2], nargs="+")
    add("weights", float, nargs="+")
    add("rivals", Literal["symmetry", "bone_length", "pose_pca", "augmentation"], [], nargs="+")
    add("rival_weight", float, 0.3)
    add("host_checkpoint", str | None)
    add("split", Literal["test", "val"], "test")
    add("unit", Literal["m", "mm"] | None)
    add("report", bool | None, nargs="?", const=True)
    add("output", str, "runs/compare")
    add("resume", str | None)
