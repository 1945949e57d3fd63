"""Pure tensor functions: alignment, accuracy, structure, mirroring and rescaling of poses (..., J, 3)."""

from seal_lightning.functional.accuracy import mpjpe, n_mpjpe, p_mpjpe, pck, pck_auc
from seal_lightning.functional.alignment import procrustes_align, root_align, scale_align
from seal_lightning.functional.label_free import bone_length_variation, reprojection_error
from seal_lightning.functional.mirroring import mirror_keypoints, mirror_poses
from seal_lightning.functional.motion import acceleration_error, mpjve
from seal_lightning.functional.rescaling import clip_mean_bones, rescale_bones, shrink_bones, symmetrise_bones
from seal_lightning.functional.structure import (
    asymmetry_error,
    body_segment_length_error,
    bone_lengths,
    limb_length_error,
    limb_symmetry_error,
    mpsce,
    mpsse,
)
from seal_lightning.functional.weighted import fuse_views, smooth

__all__ = [
    "acceleration_error",
    "asymmetry_error",
    "body_segment_length_error",
    "bone_length_variation",
    "bone_lengths",
    "clip_mean_bones",
    "fuse_views",
    "limb_length_error",
    "limb_symmetry_error",
    "mirror_keypoints",
    "mirror_poses",
    "mpjpe",
    "mpjve",
    "mpsce",
    "mpsse",
    "n_mpjpe",
    "p_mpjpe",
    "pck",
    "pck_auc",
    "procrustes_align",
    "reprojection_error",
    "rescale_bones",
    "root_align",
    "scale_align",
    "shrink_bones",
    "smooth",
    "symmetrise_bones",
]
