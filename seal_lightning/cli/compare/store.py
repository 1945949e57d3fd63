"""The directory of a comparison: what is finished of it, written so that a stop at any moment leaves it whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seal_lightning.cli.compare.methods import Method
from seal_lightning.evaluation.runs import Run, read_run, write_json

__all__ = ["Store"]


class Store:
    """What a comparison has finished, in its directory.

    For every training there is a folder in ``trainings``: ``weights.ckpt``, a Lightning checkpoint; ``training.json``,
    the run without its scores; then ``run.json``, the run with them, and ``poses.pt``. A file is there when all of it
    is: it is written beside its place first.

    Args:
        directory: The directory, which exists.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def manifest(self) -> dict[str, Any]:
        """What the comparison was begun with.

        Raises:
            ValueError: If the directory holds none.
        """
        path = self.directory / "manifest.json"
        if not path.is_file():
            raise ValueError(
                f"Expected `resume` to be the directory of an earlier comparison, but {self.directory} holds no "
                "manifest.json."
            )
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write what the comparison is begun with."""
        self.write("manifest.json", lambda path: write_json(path, manifest))

    def write(self, name: str, write: Callable[[Path], object]) -> Path:
        """Have a file written beside its place, and move it there.

        Args:
            name: Its name in the directory.
            write: Writes it under the path that it is given.

        Returns:
            The path of the file.
        """
        final = self.directory / name
        final.parent.mkdir(parents=True, exist_ok=True)
        part = final.with_name(f".part-{final.name}")  # with the ending of the name, by which formats are told
        try:
            write(part)
            os.replace(part, final)
        finally:
            part.unlink(missing_ok=True)  # of a stop in the middle
        return final

    def save_training(self, method: Method, run: Run, save_weights: Callable[[Path], object]) -> None:
        """Keep a training that has ended and is not scored yet."""
        self.write(f"{_folder(method, run.seed)}/weights.ckpt", save_weights)
        self.write(f"{_folder(method, run.seed)}/training.json", lambda path: write_json(path, run))

    def save_scores(self, method: Method, run: Run, poses: Tensor) -> None:
        """Keep the scores of a training."""
        self.write(f"{_folder(method, run.seed)}/poses.pt", lambda path: torch.save(poses, path))
        self.write(f"{_folder(method, run.seed)}/run.json", lambda path: write_json(path, run))

    def save_true_poses(self, method: Method, seed: int, poses: Tensor) -> None:
        """Keep true poses (N, J, 3) that a training has seen."""
        self.write(f"{_folder(method, seed)}/true_poses.pt", lambda path: torch.save(poses, path))

    def true_poses(self, method: Method, seed: int) -> Tensor:
        """The true poses (N, J, 3) that were kept of a training."""
        poses: Tensor = torch.load(self.directory / _folder(method, seed) / "true_poses.pt", weights_only=True)
        return poses

    def training(self, method: Method, seed: int) -> Run | None:
        """The run of a training that has ended, scored or not; None where it has not."""
        return self._run(method, seed, "training.json")

    def scored(self, method: Method, seed: int) -> Run | None:
        """The run of a training that is scored; None where it is not."""
        return self._run(method, seed, "run.json")

    def weights(self, method: Method, seed: int) -> dict[str, Tensor]:
        """The trained weights of the host."""
        path = self.directory / _folder(method, seed) / "weights.ckpt"
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        return state

    def poses(self, method: Method, seed: int) -> Tensor:
        """Some true and predicted poses (N, 2, J, 3) of a scored training, in millimetres."""
        poses: Tensor = torch.load(self.directory / _folder(method, seed) / "poses.pt", weights_only=True)
        return poses

    def _run(self, method: Method, seed: int, name: str) -> Run | None:
        path = self.directory / _folder(method, seed) / name
        return read_run(path) if path.is_file() else None


def _folder(method: Method, seed: int) -> str:
    return f"trainings/{method.label.replace(' ', '-')}_seed-{seed}"
