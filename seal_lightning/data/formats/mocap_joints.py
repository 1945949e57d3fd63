"""Which joints of motion capture files stand for the joints of Human3.6M, as plain data."""

from __future__ import annotations

__all__ = ["MOCAP_JOINTS"]

Table = dict[str, str | list[str] | dict[str, float]]

# The hip lies between the hip joints, as in Human3.6M. Not every file has a neck/nose joint or the top of the head: the
# base of the skull takes the place of the first, and the outermost joint of the head that of the second.
_CMU_ASF: Table = {
    "Hip": ["lhipjoint", "rhipjoint"],
    **{"RHip": "rhipjoint", "RKnee": "rfemur", "RAnkle": "rtibia"},
    **{"LHip": "lhipjoint", "LKnee": "lfemur", "LAnkle": "ltibia"},
    **{"Spine": "lowerback", "Thorax": ["thorax", "lowerneck"], "Neck": "upperneck", "Head": "head"},
    **{"LShoulder": "lclavicle", "LElbow": "lhumerus", "LWrist": "lradius"},
    **{"RShoulder": "rclavicle", "RElbow": "rhumerus", "RWrist": "rradius"},
}
_CMU_BVH: Table = {
    "Hip": ["LeftUpLeg", "RightUpLeg"],
    **{"RHip": "RightUpLeg", "RKnee": "RightLeg", "RAnkle": "RightFoot"},
    **{"LHip": "LeftUpLeg", "LKnee": "LeftLeg", "LAnkle": "LeftFoot"},
    **{"Spine": "Spine", "Thorax": ["Neck", "Neck1"], "Neck": ["Neck1", "Head"], "Head": "Head"},
    **{"LShoulder": "LeftArm", "LElbow": "LeftForeArm", "LWrist": "LeftHand"},
    **{"RShoulder": "RightArm", "RElbow": "RightForeArm", "RWrist": "RightHand"},
}
_CMU_DAZ: Table = {
    "Hip": ["lThigh", "rThigh"],
    **{"RHip": "rThigh", "RKnee": "rShin", "RAnkle": "rFoot"},
    **{"LHip": "lThigh", "LKnee": "lShin", "LAnkle": "lFoot"},
    **{"Spine": "chest", "Thorax": ["lShldr", "rShldr"], "Neck": "head", "Head": ["leftEye", "rightEye"]},
    **{"LShoulder": "lShldr", "LElbow": "lForeArm", "LWrist": "lHand"},
    **{"RShoulder": "rShldr", "RElbow": "rForeArm", "RWrist": "rHand"},
}

MOCAP_JOINTS: dict[str, Table] = {"cmu_asf": _CMU_ASF, "cmu_bvh": _CMU_BVH, "cmu_daz": _CMU_DAZ}
"""Tables for `KeypointMapping` by name: the CMU database as ASF/AMC, and as BVH in the releases for MotionBuilder and
for DAZ Studio."""
