"""A study: what is trained on what, read from YAML."""

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
        family: "host", "learned-raw", "learned-informed", "explicit" or "control"; never compared in one sentence.
        against: Method that it is compared with, where that is not the study's first.
        steps: Training steps, where they differ from the study's.
        seal: Fields of the SealConfig; plain training where not given.
        constraint: ``class_path`` of an explicit constraint that is added to the host's loss.
        weight: Weight of the constraint.
        seal_class: ``class_path`` of the SEAL subclass, where the host needs one of its own.
        host: Arguments of the host that differ from the study's.
        data: Arguments of the data that differ from the study's.
        prior: Method whose loss-nets, trained beforehand with the same seed, are used frozen.
    """

    family: str = "host"
    against: str | None = None
    steps: int | None = None
    seal: dict[str, Any] | None = None
    seal_class: str | None = None
    constraint: str | None = None
    weight: float | None = None
    host: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    prior: str | None = None


@dataclass(frozen=True)
class Study:
    """Methods, seeds, and what they share.

    Args:
        data: ``class_path`` and ``init_args`` of the LightningDataModule.
        host: ``class_path`` and ``init_args`` of the plain LightningModule.
        steps: Training steps of a run.
        seeds: A run each a method; a seed fixes initialisation and order of the data for all methods alike.
        methods: By name; the first is the host that all others are compared with.
        skeleton: Name of the skeleton that SEAL and the constraints are told.
        gradient_clip_val: Largest norm of the host's gradient.
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
        """Read a study; files named in ``data.init_args.paths`` are looked for in ``data_dir``.

        Raises:
            ValueError: If a key is unknown or missing.
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
        """The method that a method is compared with."""
        return self.methods[method].against or next(iter(self.methods))

    def run_key(self, method: str, seed: int) -> str:
        """What a run is known by: whatever changes its outcome."""
        fields = self.methods[method]
        mine = {"steps": fields.steps or self.steps, "seed": seed}
        for name in ("seal", "seal_class", "constraint", "weight", "host", "data"):
            if getattr(fields, name) is not None:
                mine[name] = getattr(fields, name)
        if fields.prior is not None:
            mine["prior"] = self.run_key(fields.prior, seed)
        shared = {"data": _without_folders(self.data), "host": self.host, "clip": self.gradient_clip_val}
        text = json.dumps({**shared, "method": mine}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_folders(data: Mapping[str, Any]) -> dict[str, Any]:
    arguments = dict(data.get("init_args", {}))
    if arguments.get("paths"):
        arguments["paths"] = [Path(path).name for path in arguments["paths"]]
    return {**data, "init_args": arguments}
