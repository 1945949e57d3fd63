"""Joint tables of the built-in skeletons, as plain data."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

__all__ = ["BUILT_IN"]

_H36M17 = {
    "names": (
        *("Hip", "RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "Spine", "Thorax", "Neck", "Head"),
        *("LShoulder", "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist"),
    ),
    "parents": (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    "left": (4, 5, 6, 11, 12, 13),
    "right": (1, 2, 3, 14, 15, 16),
    "limbs": ((1, 2, 3), (4, 5, 6), (11, 12, 13), (14, 15, 16)),
}

_MPI_INF_3DHP17 = {
    "names": (
        *("HeadTop", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist"),
        *("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "Pelvis", "Spine", "Head"),
    ),
    "parents": (16, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, -1, 14, 1),
    "left": (5, 6, 7, 11, 12, 13),
    "right": (2, 3, 4, 8, 9, 10),
    "limbs": ((2, 3, 4), (5, 6, 7), (8, 9, 10), (11, 12, 13)),
}

_COCO17 = {
    "names": (
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
        *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
        *("left_knee", "right_knee", "left_ankle", "right_ankle"),
    ),
    "parents": (-1, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
    "left": (1, 3, 5, 7, 9, 11, 13, 15),
    "right": (2, 4, 6, 8, 10, 12, 14, 16),
    "root": (11, 12),
    "limbs": ((5, 7, 9), (6, 8, 10), (11, 13, 15), (12, 14, 16)),
}


def _h3wb133() -> dict[str, Any]:
    """COCO-WholeBody: body 0-16, feet 17-22, 68 face landmarks 23-90, left hand 91-111, right hand 112-132."""
    names, parents = list(_COCO17["names"]), list(_COCO17["parents"])
    left, right = list(_COCO17["left"]), list(_COCO17["right"])
    for side, ankle in (("left", 15), ("right", 16)):
        names += [f"{side}_big_toe", f"{side}_small_toe", f"{side}_heel"]
        parents += [ankle] * 3
    left += [17, 18, 19]
    right += [20, 21, 22]

    # The face is a tree of chains that grow outwards from the middle line, so that it is its own mirror image.
    face_parents = {27: 28, 28: 29, 29: 30, 33: 30, 51: 33, 62: 51, 66: 62, 57: 66, 8: 57}
    face_mirror = {}
    right_chains = (
        *((8, 7, 6, 5, 4, 3, 2, 1, 0), (27, 21, 20, 19, 18, 17), (27, 39, 38, 37, 36), (39, 40, 41), (33, 32, 31)),
        *((51, 50, 49, 48), (57, 58, 59), (62, 61, 60), (66, 67)),
    )
    left_chains = (
        *((8, 9, 10, 11, 12, 13, 14, 15, 16), (27, 22, 23, 24, 25, 26), (27, 42, 43, 44, 45), (42, 47, 46)),
        *((33, 34, 35), (51, 52, 53, 54), (57, 56, 55), (62, 63, 64), (66, 65)),
    )
    for chain_right, chain_left in zip(right_chains, left_chains, strict=True):
        for chain in (chain_right, chain_left):
            face_parents.update(zip(chain[1:], chain, strict=False))
        pairs = zip(chain_right[1:], chain_left[1:], strict=True)
        face_mirror.update({landmark_left: landmark_right for landmark_right, landmark_left in pairs})
    names += [f"face_{landmark}" for landmark in range(68)]
    parents += [23 + face_parents[landmark] if landmark in face_parents else 0 for landmark in range(68)]
    left += [23 + landmark for landmark in face_mirror]
    right += [23 + landmark for landmark in face_mirror.values()]

    for side, wrist, hand in (("left", 9, 91), ("right", 10, 112)):
        names.append(f"{side}_hand_root")
        parents.append(wrist)
        for f, finger in enumerate(("thumb", "index", "middle", "ring", "pinky")):
            for segment in range(4):
                names.append(f"{side}_{finger}_{segment + 1}")
                parents.append(hand if segment == 0 else hand + 4 * f + segment)
    left += range(91, 112)
    right += range(112, 133)
    return {**_COCO17, "names": names, "parents": parents, "left": left, "right": right}


def _plug_in_gait39() -> dict[str, Any]:
    """Vicon's full-body set of 39 surface markers, hung from the neck (C7)."""
    head, trunk = ("LFHD", "RFHD", "LBHD", "RBHD"), ("C7", "T10", "CLAV", "STRN", "RBAK")
    arm, leg = ("SHO", "UPA", "ELB", "FRM", "WRA", "WRB", "FIN"), ("THI", "KNE", "TIB", "ANK", "HEE", "TOE")
    names = [*head, *trunk, *(side + end for side in "LR" for end in arm), "LASI", "RASI", "LPSI", "RPSI"]
    names += [side + end for side in "LR" for end in leg]
    above = {"T10": "C7", "CLAV": "C7", "STRN": "CLAV", "RBAK": "T10"}
    for side in "LR":
        above |= {f"{side}PSI": "T10", f"{side}BHD": "C7", f"{side}SHO": "C7"}
        chains = ("BHD FHD", "SHO UPA ELB FRM WRA FIN", "FRM WRB", "PSI ASI THI KNE TIB ANK HEE", "ANK TOE")
        for chain in (names_of.split() for names_of in chains):
            above |= {side + lower: side + upper for upper, lower in pairwise(chain)}
    place = {name: joint for joint, name in enumerate(names)}
    pairs = [name[1:] for name in names if name[0] == "L"]
    limbs = [f"{side}{chain}" for side in "LR" for chain in ("SHO UPA ELB FRM WRA", "ASI THI KNE TIB ANK")]
    return {
        "names": names,
        "parents": [place[above[name]] if name in above else -1 for name in names],
        "left": [place[f"L{end}"] for end in pairs],
        "right": [place[f"R{end}"] for end in pairs],
        "limbs": [[place[limb[0] + end] for end in limb[1:].split()] for limb in limbs],
    }


# The order and tree of the model's own `kintree_table`: Loper et al., SMPL, 2015, https://smpl.is.tue.mpg.de. The names
# are those of smplx/joint_names.py in https://github.com/vchoutas/smplx.
_SMPL24 = {
    "names": (
        *(
            "pelvis",
            "left_hip",
            "right_hip",
            "spine1",
            "left_knee",
            "right_knee",
            "spine2",
            "left_ankle",
            "right_ankle",
        ),
        *("spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder"),
        *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand"),
    ),
    "parents": (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21),
    "left": (1, 4, 7, 10, 13, 16, 18, 20, 22),
    "right": (2, 5, 8, 11, 14, 17, 19, 21, 23),
    "limbs": ((1, 4, 7), (2, 5, 8), (16, 18, 20), (17, 19, 21)),
}

# BODY_25, the default of OpenPose, hung from the middle of the hips: Cao et al., OpenPose, 2019,
# https://github.com/CMU-Perceptual-Computing-Lab/openpose, doc/02_output.md.
_OPENPOSE25 = {
    "names": (
        *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip"),
        *("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar"),
        *("LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel"),
    ),
    "parents": (1, 8, 1, 2, 3, 1, 5, 6, -1, 8, 9, 10, 8, 12, 13, 0, 0, 15, 16, 14, 19, 14, 11, 22, 11),
    "left": (5, 6, 7, 12, 13, 14, 16, 18, 19, 20, 21),
    "right": (2, 3, 4, 9, 10, 11, 15, 17, 22, 23, 24),
    "limbs": ((5, 6, 7), (2, 3, 4), (12, 13, 14), (9, 10, 11)),
}


def _hand21() -> dict[str, Any]:
    """One hand, left or right, from the wrist to the finger tips; its limbs are the fingers.

    The order of OpenPose (Simon et al., Hand Keypoint Detection in Single Images using Multiview Bootstrapping, 2017,
    https://arxiv.org/abs/1704.07809), of FreiHAND, and of MediaPipe (https://ai.google.dev/edge/mediapipe, hand
    landmarks), whose names these are. MANO and InterHand2.6M have other orders.
    """
    fingers = {"thumb": ("cmc", "mcp", "ip", "tip")}
    fingers |= dict.fromkeys(("index", "middle", "ring", "pinky"), ("mcp", "pip", "dip", "tip"))
    bases = range(1, 21, 4)
    return {
        "names": ("wrist", *(f"{finger}_{part}" for finger, parts in fingers.items() for part in parts)),
        "parents": (-1, *(parent for base in bases for parent in (0, base, base + 1, base + 2))),
        "limbs": tuple(tuple(range(base, base + 4)) for base in bases),
    }


BUILT_IN: dict[str, dict[str, Any]] = {
    "h36m17": _H36M17,
    "mpi_inf_3dhp17": _MPI_INF_3DHP17,
    "coco17": _COCO17,
    "h3wb133": _h3wb133(),
    "smpl24": _SMPL24,
    "openpose25": _OPENPOSE25,
    "hand21": _hand21(),
    "plug_in_gait39": _plug_in_gait39(),
}
