"""A study, read from YAML: the data, the host, and the methods that are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Method", "Study"]


@dataclass(frozen=True)
class Method:
    """One way to train the host.

    Args:
        family: "host", "learned-raw", "learned-informed", "explicit", "linear", "data" or "control". Methods of
            different families answer different questions; docs/first-study.md tells the first four apart.
        against: Name of the method that this one is compared with; by default the study's first.
        steps: Number of training steps; by default that of the study.
        seal: Fields of the `SealConfig`; without these the training is plain.
        constraint: ``class_path`` of an explicit constraint that is added to the host's loss.
        weight: Weight of the constraint.
        seal_class: ``class_path`` of the SEAL subclass, for a host that needs one of its own.
        host: Arguments of the host that differ from the study's.
        host_class: ``class_path`` of the host, where it is not the study's.
        data: Arguments of the data that differ from the study's.
        prior: Name of a method that is trained first, with the same seed; its loss-nets are then used frozen.
        teachers: Names of methods that are trained first, with the same seed; the host's method `learn_from` is given
            their networks.
    """

    family: str = "host"
    against: str | None = None
    steps: int | None = None
    seal: dict[str, Any] | None = None
    seal_class: str | None = None
    constraint: str | None = None
    weight: float | None = None
    host: dict[str, Any] | None = None
    host_class: str | None = None
    data: dict[str, Any] | None = None
    prior: str | None = None
    teachers: list[str] | None = None


@dataclass(frozen=True)
class Study:
    """The methods of a study, its seeds, and what all runs share.

    Args:
        data: ``class_path`` and ``init_args`` of the LightningDataModule.
        host: ``class_path`` and ``init_args`` of the plain LightningModule.
        steps: Number of training steps of a run.
        seeds: Every method is run once with each seed, which fixes the initial weights and the order of the data, the
            same for all methods.
        methods: The methods by name. The first is the host, with which the others are compared.
        skeleton: Name of the skeleton that SEAL and the constraints use.
        gradient_clip_val: Largest norm of the host's gradient; a longer one is scaled down to it.
    """

    data: dict[str, Any]
    host: dict[str, Any]
    steps: int
    seeds: list[int]
    methods: dict[str, Method]
    skeleton: str = "h36m17"
    gradient_clip_val: float = 1.0

    @classmethod
    def read(cls, path: Path, data_dir: str | None = None) -> Study:
        """Read a study from a YAML file.

        Args:
            path: The file.
            data_dir: Folder of the files that the study names in ``data.init_args.paths``.

        Raises:
            ValueError: If a field is unknown or missing.
        """
        plain = yaml.safe_load(path.read_text())
        if data_dir is not None:
            arguments = plain["data"]["init_args"]
            arguments["paths"] = [str(Path(data_dir) / name) for name in arguments["paths"]]
        try:
            methods = {name: Method(**(fields or {})) for name, fields in plain.pop("methods").items()}
            return cls(methods=methods, **plain)
        except (KeyError, TypeError) as error:
            raise ValueError(f"Expected {path} to hold the fields of a study, but got: {error}") from error

    def reference(self, method: str) -> str:
        """Return the name of the method that a method is compared with."""
        return self.methods[method].against or next(iter(self.methods))

    def run_key(self, method: str, seed: int) -> str:
        """Return the key of a run: a hash of everything that changes its outcome, and of nothing else.

        A finished run is found again by its key, so it survives a renamed method and a moved folder of data.
        """
        fields = self.methods[method]
        mine = {"steps": fields.steps or self.steps, "seed": seed}
        for name in ("seal", "seal_class", "constraint", "weight", "host", "host_class", "data"):
            if getattr(fields, name) is not None:
                mine[name] = getattr(fields, name)
        if fields.prior is not None:
            mine["prior"] = self.run_key(fields.prior, seed)
        if fields.teachers is not None:
            mine["teachers"] = [self.run_key(name, seed) for name in fields.teachers]
        shared = {"data": _without_folders(self.data), "host": self.host, "clip": self.gradient_clip_val}
        text = json.dumps({**shared, "method": mine}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_folders(data: Mapping[str, Any]) -> dict[str, Any]:
    """Keep only the file names of the data's paths: the outcome does not depend on where the files are."""
    arguments = dict(data.get("init_args", {}))
    if arguments.get("paths"):
        arguments["paths"] = [Path(path).name for path in arguments["paths"]]
    return {**data, "init_args": arguments}
