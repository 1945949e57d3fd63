"""Eight published lifting networks as plain PyTorch modules, and one Lightning lifter that trains any of them.

Single frames, (B, J, C) to (B, J, 3): `SimpleBaseline`, `SemGCN`. Windows to the pose of their centre frame,
(B, T, J, C) to (B, J, 3): `VideoPose3D`, `PoseFormerV2`, `PSTMO`. Windows to the poses of all frames, (B, T, J, C) to
(B, T, J, 3): `MixSTE`, `KTPFormer`, `MotionAGFormer`. The defaults are published sizes, ``tiny()`` gives one for the
CPU. Nothing here knows of a learned loss.
"""

from examples.backbones.ktp_former import KTPFormer
from examples.backbones.lifter import LitLifter
from examples.backbones.mix_ste import MixSTE
from examples.backbones.motion_ag_former import MotionAGFormer
from examples.backbones.p_stmo import PSTMO
from examples.backbones.pose_former_v2 import PoseFormerV2
from examples.backbones.sem_gcn import SemGCN
from examples.backbones.simple_baseline import SimpleBaseline
from examples.backbones.video_pose_3d import VideoPose3D

__all__ = [
    "PSTMO",
    "KTPFormer",
    "LitLifter",
    "MixSTE",
    "MotionAGFormer",
    "PoseFormerV2",
    "SemGCN",
    "SimpleBaseline",
    "VideoPose3D",
]
