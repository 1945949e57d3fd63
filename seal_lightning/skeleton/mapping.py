"""Conversion of keypoints from one skeleton to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seal_lightning._values import did_you_mean, is_number
from seal_lightning.skeleton._mappings import BUILT_IN
from seal_lightning.skeleton.skeleton import Skeleton, get_skeleton

__all__ = ["BUILT_IN", "KeypointMapping", "get_mapping"]

Joints = TypeVar("Joints", Tensor, npt.NDArray[Any])


@dataclass(frozen=True)
class KeypointMapping:
    r"""Computes each joint of one skeleton as a weighted mean of joints of another.

    .. math:: y_k = \sum_j w_{kj} x_j \quad \text{with} \quad \sum_j w_{kj} = 1

    Since the weights of a joint sum to 1, coordinates may be normalised before or after. The confidence of a joint is
    the lowest of those that it is computed from, and it is visible where all of them are. A joint that is not listed is
    missing: it is NaN, has confidence 0, and is invisible.

    Args:
        source: Skeleton of the given keypoints, or its name; ``"body25"`` is ``"openpose25"``.
        target: Skeleton of the keypoints wanted, or its name.
        joints: For each target joint a source joint, a list of source joints to average, or a dictionary of weights by
            source joint that sum to 1.

    Raises:
        ValueError: If a joint is in neither skeleton, or the weights of a joint do not sum to 1.

    Example:
        >>> hips = KeypointMapping("coco17", "h36m17", {"Hip": ["left_hip", "right_hip"], "LHip": "left_hip"})
        >>> keypoints = np.zeros((17, 3))
        >>> keypoints[11], keypoints[12] = (2.0, 4.0, 0.9), (4.0, 6.0, 0.5)
        >>> hips(keypoints, confidence=True)[[0, 4]]
        array([[3. , 5. , 0.5],
               [2. , 4. , 0.9]])
    """

    source: str | Skeleton
    target: str | Skeleton
    joints: dict[str, str | list[str] | dict[str, float]]
    _index: Tensor = field(init=False, repr=False, compare=False)
    _weight: Tensor = field(init=False, repr=False, compare=False)
    _made: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        source, target = _skeleton(self.source), _skeleton(self.target)
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "target", target)
        if not isinstance(self.joints, Mapping):
            raise ValueError(f"Expected `joints` to be a dict by target joint, but got {type(self.joints).__name__}.")
        if unknown := [joint for joint in self.joints if joint not in target.names]:
            raise ValueError(
                f"Expected the keys of `joints` to be joints of the target, {list(target.names)}, but got {unknown}."
            )
        parts = {joint: _weights(joint, of, source) for joint, of in self.joints.items()}
        self._check_sides(parts, source, target)
        width = max((len(of) for of in parts.values()), default=1)
        index = torch.zeros(len(target.names), width, dtype=torch.long)
        weight = torch.zeros(len(target.names), width, dtype=torch.float64)
        for joint, of in parts.items():
            row, sources = target.names.index(joint), [source.names.index(name) for name in of]
            # A row with fewer sources repeats its first one with weight 0. Another joint would do harm even with weight
            # 0: by its NaN, its lower confidence or its invisibility.
            index[row] = torch.tensor(sources + sources[:1] * (width - len(sources)))
            weight[row, : len(sources)] = torch.tensor(list(of.values()), dtype=torch.float64)
        made = torch.tensor([joint in parts for joint in target.names])
        for name, value in (("_index", index), ("_weight", weight), ("_made", made)):
            object.__setattr__(self, name, value)

    @staticmethod
    def _check_sides(parts: Mapping[str, Mapping[str, float]], source: Skeleton, target: Skeleton) -> None:
        """Raise where a left joint is made of right ones alone, or the other way round."""
        given, wanted = (
            {skeleton.names[joint]: side for side in ("left", "right") for joint in getattr(skeleton, side)}
            for skeleton in (source, target)
        )
        for joint, of in parts.items():
            sides = {given.get(name) for name in of}
            if len(sides) == 1 and {wanted.get(joint), *sides} == {"left", "right"}:
                raise ValueError(f"Expected joint {joint!r} to be made of joints of its own side, but got {list(of)}.")

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the target joints that have no source."""
        return tuple(name for name in _skeleton(self.target).names if name not in self.joints)

    def __call__(self, joints: Joints, *, confidence: bool = False) -> Joints:
        """Return keypoints or poses (..., K, C) of the target, given those (..., J, C) of the source.

        Args:
            joints: Floating-point coordinates. NaN reaches only the joints that are computed from it.
            confidence: Whether the last channel is a confidence, of which the lowest is taken.

        Raises:
            ValueError: If the joints are not those of the source.
        """
        given = _tensor(joints)
        self._check(given.shape[-2:-1], tuple(given.shape), "(..., {}, C)")
        if not given.is_floating_point():
            raise ValueError(f"Expected `joints` to be floating-point, but got {given.dtype}.")
        weight, known = self._weight.to(given), self._made.to(given.device)
        parts = [given[..., column, :] for column in self._index.to(given.device).unbind(1)]
        made = sum(part * weight[:, i, None] for i, part in enumerate(parts))
        made = torch.where(known[:, None], made, torch.nan)
        if confidence:
            least = torch.where(known, reduce(torch.minimum, (part[..., -1] for part in parts)), 0.0)
            made = torch.cat((made[..., :-1], least[..., None]), dim=-1)
        return _like(made, joints)

    def visibility(self, visibility: Joints) -> Joints:
        """Return which joints (..., K) of the target are visible, given those (..., J) of the source.

        Raises:
            ValueError: If the joints are not those of the source.
        """
        given = _tensor(visibility)
        self._check(given.shape[-1:], tuple(given.shape), "(..., {})")
        seen = given.bool()[..., self._index.to(given.device)].all(-1) & self._made.to(given.device)
        return _like(seen, visibility)

    def _check(self, joints: torch.Size, shape: tuple[int, ...], wanted: str) -> None:
        count = _skeleton(self.source).num_joints
        if joints != (count,):
            raise ValueError(
                f"Expected the {count} joints of the mapping's source, shape {wanted.format(count)}, but got {shape}."
            )


def get_mapping(mapping: str | KeypointMapping) -> KeypointMapping:
    """Return the built-in mapping of that name; a `KeypointMapping` is returned as it is.

    Args:
        mapping: ``"coco17_to_h36m17"``, ``"h3wb133_to_h36m17"``, ``"body25_to_h36m17"``,
            ``"mpi_inf_3dhp17_to_h36m17"``, ``"h36m17_to_mpi_inf_3dhp17"``, ``"h36m17_to_coco17"`` (no eyes and ears),
            ``"h3wb133_to_coco17"``, ``"body25_to_coco17"``, or a `KeypointMapping`.

    Raises:
        ValueError: If no built-in mapping has that name.

    Example:
        >>> get_mapping("h36m17_to_coco17").missing
        ('left_eye', 'right_eye', 'left_ear', 'right_ear')
    """
    if isinstance(mapping, KeypointMapping):
        return mapping
    if not isinstance(mapping, str) or mapping not in BUILT_IN:
        hint = did_you_mean(mapping, BUILT_IN)
        raise ValueError(f"Expected `mapping` to be one of {sorted(BUILT_IN)}, but got {mapping!r}.{hint}")
    source, _, target = mapping.partition("_to_")
    return KeypointMapping(source, target, dict(BUILT_IN[mapping]))


def _skeleton(skeleton: str | Skeleton) -> Skeleton:
    # The names of the mappings call OpenPose's joints as OpenPose does.
    return get_skeleton("openpose25" if skeleton == "body25" else skeleton)


def _weights(joint: str, of: str | list[str] | Mapping[str, float], source: Skeleton) -> dict[str, float]:
    """Return the weight of every source of a joint."""
    names = [of] if isinstance(of, str) else list(of) if isinstance(of, Mapping | list | tuple) else [of]
    if unknown := [name for name in names if name not in source.names]:
        raise ValueError(f"Expected joint {joint!r} to be made of joints of the source, but got {unknown}.")
    weights = dict(of) if isinstance(of, Mapping) else {name: names.count(name) / len(names) for name in names}
    real = all(map(is_number, weights.values()))
    if not real or not abs(sum(weights.values()) - 1.0) <= 1e-6:
        found = sum(weights.values()) if real else list(weights.values())
        raise ValueError(f"Expected the weights of joint {joint!r} to sum to 1, but got {found}.")
    return weights


def _tensor(values: Tensor | npt.NDArray[Any]) -> Tensor:
    if isinstance(values, Tensor):
        return values
    array = np.require(values, requirements=["C", "W"])
    if array.dtype.kind not in "biuf":
        raise TypeError(f"Expected joints to be real numbers, but got {array.dtype}.")
    return torch.from_numpy(array)


def _like(result: Tensor, given: Joints) -> Joints:
    return result if isinstance(given, Tensor) else result.numpy()
