"""Tables of the built-in keypoint mappings, as plain data."""

from __future__ import annotations

__all__ = ["BUILT_IN"]

Table = dict[str, str | list[str] | dict[str, float]]

_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_SIDES = {"left": "L", "right": "R"}
_H36M_TO_COCO: Table = {f"{side}_{limb}": letter + limb.title() for side, letter in _SIDES.items() for limb in _LIMBS}
_COCO_LIMBS: Table = {str(h36m): coco for coco, h36m in _H36M_TO_COCO.items()}

# The thorax is the middle of the shoulders, the pelvis that of the hips, and the spine the middle of the two. Detectors
# find neither Human3.6M's neck/nose nor its head: the nose and the middle of the eyes are the usual replacements.
_COCO_TO_H36M: Table = {
    **_COCO_LIMBS,
    "Hip": ["left_hip", "right_hip"],
    "Spine": ["left_hip", "right_hip", "left_shoulder", "right_shoulder"],
    "Thorax": ["left_shoulder", "right_shoulder"],
    "Neck": "nose",
    "Head": ["left_eye", "right_eye"],
}

_BODY25_TO_H36M: Table = {
    **{str(joint): joint for joint in _COCO_LIMBS},
    "Hip": "MidHip",
    "Spine": ["MidHip", "Neck"],
    "Thorax": "Neck",
    "Neck": "Nose",
    "Head": ["LEye", "REye"],
}
_BODY25_TO_COCO: Table = {
    **_H36M_TO_COCO,
    "nose": "Nose",
    **{f"{side}_{part}": letter + part.title() for side, letter in _SIDES.items() for part in ("eye", "ear")},
}
_MPI_TO_H36M: Table = {
    **{str(joint): joint for joint in _COCO_LIMBS},
    "Hip": "Pelvis",
    "Spine": "Spine",
    "Thorax": "Neck",
    "Neck": "Head",
    "Head": "HeadTop",
}
_COCO_NAMES = ("nose", *(f"{side}_{part}" for side in _SIDES for part in ("eye", "ear", *_LIMBS)))

BUILT_IN: dict[str, Table] = {
    "coco17_to_h36m17": _COCO_TO_H36M,
    "h3wb133_to_h36m17": _COCO_TO_H36M,
    "h3wb133_to_coco17": {name: name for name in _COCO_NAMES},
    "body25_to_h36m17": _BODY25_TO_H36M,
    "body25_to_coco17": _BODY25_TO_COCO,
    "mpi_inf_3dhp17_to_h36m17": _MPI_TO_H36M,
    "h36m17_to_mpi_inf_3dhp17": {str(mpi): h36m for h36m, mpi in _MPI_TO_H36M.items()},
    "h36m17_to_coco17": {**_H36M_TO_COCO, "nose": "Neck"},
}
