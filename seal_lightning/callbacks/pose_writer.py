"""Writes predicted poses to files, and draws them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from seal_lightning._extras import require
from seal_lightning.callbacks._finishing import Finishing, Rescaling
from seal_lightning.callbacks._frame_errors import FrameErrors
from seal_lightning.callbacks.error_estimate import ErrorEstimate, error_estimate_of
from seal_lightning.data.datamodules.keypoint_file import KeypointFileDataModule
from seal_lightning.plotting.animation import animate_lifting, check_animation, plot_lifting

__all__ = ["PoseWriter"]

_NOTE = (
    "Poses are in the camera's frame (x right, y down, z away) relative to the root joint. Where the person stands and "
    "how large they are is unknown: the scale is that of the bodies which the model was trained on."
)


class PoseWriter(BasePredictionWriter):
    """Writes the poses that a model predicts from a `KeypointFileDataModule`: ``poses.npz``, ``poses.json``, pictures.

    Poses are relative to the root joint and in the unit of the training. **Where the person stands and how large they
    are is unknown**: from one camera a small person cannot be told from a distant one, so the scale is that of the
    bodies which the model was trained on. A frame in which nobody is seen has no pose: NaN in the npz, null in json.

    The npz holds ``poses`` (T, J, 3); ``keypoints_2d`` (T, J, 3), the keypoints of the file as the model's joints, with
    their confidences; ``visibility`` (T, J); ``frame``, the names of the frames; ``joints``, ``parents`` and ``unit``;
    and ``fps`` if they are of a video. The json holds the same, frame by frame.

    Beside an `ErrorEstimate` among the trainer's callbacks, both hold what its critic says: ``error_mm`` (T,) and
    ``joint_error_mm`` (T, J), the expected errors in millimetres; ``error_90_mm`` and ``joint_error_90_mm``, what nine
    in ten errors stay below, if that was calibrated; and under the names that readers of COCO and MMPose files take for
    scores, ``score`` and ``keypoint_scores``, these are exp(-error / 100 mm). Pictures and animation shade joints by
    their errors. All are of the poses as they are predicted.

    Finished poses can be smoothed over time and get other bone lengths, in this order; both are off unless asked for.

    Args:
        output: Folder to write to, in which files of an earlier run are replaced; None means the trainer's root
            directory.
        unit: Unit of the targets in training, "m" or "mm"; written beside the poses.
        pictures: Number of poses in ``poses.png``; 0 draws none. Needs matplotlib.
        animation: Format of the animation of a video: "gif", or "mp4" where ffmpeg is installed. None makes none.
        rescale: Other lengths for the bones of finished poses: "symmetrise" gives left and right bones their mean,
            "clip_mean" gives every bone its mean over all frames, which have to show one person, and "mean" moves it
            25 % of the way to `lengths`. None leaves the bones.
        lengths: Length per bone for "mean", in `unit` and the order of ``skeleton.bones``: the means of the training
            data (``bone_lengths(poses, skeleton).mean(0).tolist()``), or those of the person.
        smooth: Standard deviation, in frames, of a Gaussian filter over the frames of a video, as in
            `seal_lightning.functional.smooth`. None filters nothing. Beside an `ErrorEstimate`, each joint of a frame
            counts by the inverse square of its estimated error.

    Raises:
        ValueError: If an argument is out of its range, or the model predicts no poses of its data's joints.
        TypeError: If the data do not come from a `KeypointFileDataModule`.
    """

    def __init__(
        self,
        output: str | None = None,
        unit: Literal["m", "mm"] = "m",
        pictures: int = 4,
        animation: Literal["gif", "mp4"] | None = "gif",
        rescale: Rescaling | None = None,
        lengths: list[float] | None = None,
        smooth: float | None = None,
    ) -> None:
        super().__init__("batch")
        if unit not in ("m", "mm"):
            raise ValueError(f"Expected `unit` to be 'm' or 'mm', but got {unit!r}.")
        if pictures < 0:
            raise ValueError(f"Expected `pictures` to be 0 or more, but got {pictures}.")
        if animation not in (None, "gif", "mp4"):
            raise ValueError(f"Expected `animation` to be 'gif', 'mp4' or None, but got {animation!r}.")
        self.output, self.unit, self.pictures, self.animation = output, unit, pictures, animation
        self.finishing = Finishing(rescale, lengths, smooth)
        self._poses = torch.zeros(0)
        self._errors: FrameErrors | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask for matplotlib now rather than after all poses have been predicted.

        Raises:
            ModuleNotFoundError: If pictures are wanted and matplotlib is not installed.
        """
        if stage == "predict" and self.pictures > 0:
            require("matplotlib", "the pictures of PoseWriter (`pictures=0` draws none)")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make room for the poses, and check that they can be written."""
        data = _keypoint_file(trainer)
        if trainer.world_size > 1:
            raise ValueError(f"Expected one process to predict in, but got {trainer.world_size}. Set `devices: 1`.")
        if self.animation is not None and data.fps is not None:
            check_animation(f".{self.animation}")
        self.finishing.check(data.skeleton, data.fps)
        self._poses = torch.full((len(data.names), data.skeleton.num_joints, 3), torch.nan)
        self._errors = None if error_estimate_of(trainer) is None else FrameErrors(*self._poses.shape[:2])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say so if there is a critic in the checkpoint that nobody asked for."""
        fitted = any(str(key).startswith(ErrorEstimate.__name__) for key in checkpoint.get("callbacks", {}))
        if trainer.state.fn == "predict" and fitted and error_estimate_of(trainer) is None:
            warnings.warn(
                "The checkpoint holds a critic that estimates the errors of the poses, but no ErrorEstimate is among "
                "the trainer's `callbacks`, so no errors are written. Add it as it was in `fit`.",
                stacklevel=2,
            )

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keep the poses of this batch's frames."""
        frame, joints = batch["frame"], self._poses.shape[1:]
        shapes = ((*frame.shape, *joints), (len(frame), 1, *joints)) if frame.dim() == 1 else ((*frame.shape, *joints),)
        if not isinstance(prediction, Tensor) or tuple(prediction.shape) not in shapes:
            found = tuple(prediction.shape) if isinstance(prediction, Tensor) else type(prediction).__name__
            raise ValueError(
                f"Expected `predict_step` to return poses {shapes[0]} of this batch, but got {found}. The data's "
                "`frames` and `centre_target` have to be those of the training."
            )
        wanted = (frame >= 0).flatten()  # -1 marks a frame that another window covers, or that is padding
        poses = prediction.detach().float().reshape(-1, *joints)[wanted]
        index = frame.flatten()[wanted].cpu()
        self._poses[index] = poses.cpu()
        estimate = error_estimate_of(trainer)
        estimated = None if estimate is None else estimate.estimated(pl_module)
        if self._errors is not None and estimated is not None:
            self._errors.add(estimated, index, wanted)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files, and say where."""
        data = _keypoint_file(trainer)
        folder = Path(trainer.default_root_dir if self.output is None else self.output)
        folder.mkdir(parents=True, exist_ok=True)
        somebody = torch.from_numpy(data.visibility.any(axis=1))
        root = self._poses[:, list(data.skeleton.root_joints)].mean(dim=1, keepdim=True)
        shades = None if self._errors is None else self._errors.of_joints
        poses = self.finishing(self._poses - root, somebody, data.skeleton, shades)
        poses = torch.where(somebody[:, None, None], poses, torch.nan)
        errors = {} if self._errors is None else self._errors.arrays(somebody)
        self._write(folder, data, poses.numpy(), errors)
        keypoints = torch.from_numpy(data.keypoints_2d)
        written = ["poses.npz", "poses.json"]
        if self.pictures:
            seen = somebody.nonzero().flatten()
            shown = seen[torch.linspace(0, len(seen) - 1, min(self.pictures, len(seen))).round().long()]
            titles = [f"frame {data.names[frame]}" for frame in shown.tolist()]
            shaded = None if shades is None else shades[shown]
            figure = plot_lifting(poses[shown], keypoints[shown], data.skeleton, titles=titles, errors_mm=shaded)
            figure.savefig(folder / "poses.png", dpi=120)
            written.append("poses.png")
        if self.animation is not None and data.fps is not None:
            path = folder / f"poses.{self.animation}"
            animate_lifting(path, poses, keypoints, data.skeleton, fps=data.fps, errors_mm=shades)
            written.append(path.name)
        print(f"Poses of {int(somebody.sum())} of {len(somebody)} frames written to {folder}: {', '.join(written)}")

    def _write(self, folder: Path, data: KeypointFileDataModule, poses: Any, errors: dict[str, Any]) -> None:
        skeleton = data.skeleton
        time: dict[str, Any] = {} if data.fps is None else {"fps": data.fps}
        arrays: dict[str, Any] = {
            **{"poses": poses, "keypoints_2d": data.keypoints_2d, "visibility": data.visibility},
            **{"frame": np.array(data.names), "joints": np.array(skeleton.names)},
            **{"parents": np.array(skeleton.parents), "unit": np.array(self.unit), **time, **errors},
        }
        np.savez(folder / "poses.npz", **arrays)
        content = {
            **{"note": _NOTE, "unit": self.unit, "joints": skeleton.names, "parents": skeleton.parents, **time},
            "frames": [
                {"frame": name, "pose": _plain(pose), "keypoints_2d": _plain(keypoints), "visibility": seen.tolist()}
                for name, pose, keypoints, seen in zip(
                    data.names, poses, data.keypoints_2d, data.visibility, strict=True
                )
            ],
        }
        for name, values in errors.items():
            for frame, value in zip(content["frames"], values, strict=True):
                frame[name] = value.tolist() if np.isfinite(value).all() else None

        (folder / "poses.json").write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def _keypoint_file(trainer: Trainer) -> KeypointFileDataModule:
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, KeypointFileDataModule):
        raise TypeError(
            "Expected PoseWriter to go with a KeypointFileDataModule, whose file names the frames, but got "
            f"{type(data).__name__}. Of other data, `trainer.predict(model, datamodule)` returns the poses in Python."
        )
    return data


def _plain(points: Any) -> list[list[float] | None] | None:
    """Points as lists for the json: None for an unknown point, and None for all of them where none is known."""
    if not np.isfinite(points[..., :2]).any():
        return None
    return [point.tolist() if np.isfinite(point).all() else None for point in points]
