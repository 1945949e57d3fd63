"""Synthetic motion: random joint angles within human limits, carried to positions by forward kinematics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seal_lightning._values import is_number, is_whole
from seal_lightning.data.formats.mocap_npz import Mocap
from seal_lightning.skeleton import get_skeleton

__all__ = ["JOINT_LIMITS", "SyntheticMocap"]

Floats = npt.NDArray[np.float64]

JOINT_LIMITS: dict[str, tuple[float, float]] = {
    "hip_flexion": (-25.0, 115.0),
    "hip_abduction": (-8.0, 40.0),
    "hip_rotation": (-20.0, 30.0),
    "knee": (0.0, 140.0),
    "trunk_flexion": (-15.0, 60.0),
    "trunk_side": (-20.0, 20.0),
    "trunk_turn": (-35.0, 35.0),
    "neck_flexion": (-30.0, 40.0),
    "neck_side": (-20.0, 20.0),
    "neck_turn": (-60.0, 60.0),
    "clavicle": (-8.0, 20.0),
    "shoulder_flexion": (-40.0, 150.0),
    "shoulder_abduction": (5.0, 110.0),
    "shoulder_rotation": (-30.0, 60.0),
    "elbow": (0.0, 140.0),
}
"""Least and greatest angle in degrees. Knees and elbows are hinges that bend one way only."""

# Mean lengths in millimetres of an adult, by joint at the far end of the bone.
_LENGTHS = {
    **{"Hip": 95.0, "Knee": 415.0, "Ankle": 430.0, "Shoulder": 160.0, "Elbow": 290.0, "Wrist": 248.0},
    **{"Spine": 270.0, "Thorax": 255.0, "Neck": 145.0, "Head": 140.0},
}
_ANKLE_HEIGHT = 80.0
_SIDES = np.array([1.0, -1.0])  # right, left: the body's x axis points to the right, y to the front, z up


@dataclass(frozen=True)
class SyntheticMocap:
    """Random, anatomically plausible motion on the Human3.6M skeleton, made from a seed in about a second.

    People stand, walk, squat, reach and turn: angles are smooth in time, stay within `JOINT_LIMITS`, and follow one
    another as in those motions; the lower foot is on the floor. Every subject has its own stature, proportions, and
    differences of 1 to 2 % between left and right bones, and keeps its bone lengths in all frames.
    It is a stand-in for demos and tests, not a model of human motion: figures on it say nothing about real people.

    Args:
        subjects: Number of subjects, called y01, y02, ...
        clips_per_subject: Number of clips of every subject.
        frames: Number of frames of every clip.
        fps: Frames per second.
        seed: Seed of everything random. A subject's body and motion do not depend on how many subjects there are.

    Raises:
        ValueError: If a number is not positive, or the seed is negative.

    Example:
        >>> mocap = SyntheticMocap(subjects=2, clips_per_subject=1, frames=5).generate()
        >>> mocap.positions.shape, mocap.skeleton_id.tolist()
        ((10, 17, 3), ['y01', 'y02'])
    """

    subjects: int = 12
    clips_per_subject: int = 10
    frames: int = 150
    fps: float = 25.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("subjects", "clips_per_subject", "frames", "fps"):
            number = getattr(self, name)
            if not (is_number if name == "fps" else is_whole)(number) or not 0 < number < math.inf:
                raise ValueError(f"Expected `{name}` to be positive, but got {number!r}.")
        if not is_whole(self.seed) or self.seed < 0:
            raise ValueError(f"Expected `seed` to be 0 or more, but got {self.seed!r}.")

    def generate(self) -> Mocap:
        """Make the motion as a `Mocap` named ``synthetic``."""
        clips = []
        for subject in range(self.subjects):
            rng = np.random.default_rng([self.seed, subject])
            lengths = _body(rng)
            angles = _motion(rng, self.clips_per_subject, np.arange(self.frames) / self.fps)
            clips.append(_forward_kinematics(angles, lengths, self.fps))
        count = self.subjects * self.clips_per_subject
        names = np.array([f"y{subject + 1:02d}" for subject in range(self.subjects)])
        return Mocap(
            "synthetic",
            np.concatenate(clips).reshape(-1, 17, 3).astype(np.float32),
            np.arange(count) * self.frames,
            np.full(count, self.frames),
            names.repeat(self.clips_per_subject),
            self.fps,
        )


def _body(rng: np.random.Generator) -> Floats:
    """Bone lengths of one subject, shape (17,), by child joint; 0 for the tree root."""
    skeleton = get_skeleton("h36m17")
    stature = np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)
    lengths = np.zeros(17)
    for part, mean in _LENGTHS.items():
        length = mean * stature * np.clip(rng.normal(1.0, 0.03), 0.92, 1.08)
        difference = rng.choice((-1.0, 1.0)) * rng.uniform(0.01, 0.02)
        for joint, name in enumerate(skeleton.names):
            if name.lstrip("LR") == part and joint != skeleton.tree_root:
                lengths[joint] = length * (
                    1.0 + 0.5 * difference * ((joint in skeleton.left) - (joint in skeleton.right))
                )
    return lengths


def _motion(rng: np.random.Generator, clips: int, time: Floats) -> dict[str, Floats]:
    """Angles in degrees within their limits, shape (clips, T) or, for what comes in pairs, (clips, T, 2)."""

    def noise(*pair: int) -> Floats:
        """A random posture plus slow waves, about standard normal over clips and frames."""
        shape = (clips, 1, *pair)
        moment = time.reshape(1, -1, *(1 for _ in pair))
        posture = rng.normal(size=shape)
        waves = np.zeros(1)
        for _ in range(3):
            frequency, phase = 0.1 * 8.0 ** rng.uniform(size=shape), rng.uniform(0.0, 2.0 * np.pi, size=shape)
            waves = waves + np.sin(2.0 * np.pi * frequency * moment + phase)
        result: Floats = 0.75 * posture + 0.55 * waves
        return result

    activity = rng.integers(3, size=(clips, 1))
    walk = np.where(activity == 0, rng.uniform(0.5, 1.0, size=(clips, 1)), 0.0)
    depth = np.where(activity == 1, rng.uniform(0.3, 1.0, size=(clips, 1)), 0.0)
    cycle = 2.0 * np.pi * (rng.uniform(0.7, 1.1, size=(clips, 1)) * time + rng.uniform(size=(clips, 1)))
    squat = depth * np.sin(np.pi * (rng.uniform(0.2, 0.5, size=(clips, 1)) * time + rng.uniform(size=(clips, 1)))) ** 2
    step = cycle[..., None] + np.pi * np.array([0.0, 1.0])
    swing, lift = walk[..., None] * np.sin(step), walk[..., None] * (0.5 + 0.5 * np.cos(step)) ** 2
    low = squat[..., None]

    wanted = {
        "hip_flexion": 6.0 + 85.0 * low + 25.0 * swing + 5.0 * noise(2),
        "hip_abduction": 5.0 + 8.0 * low + 4.0 * noise(2),
        "hip_rotation": 5.0 + 6.0 * noise(2),
        "knee": -25.0 + 130.0 * low + 75.0 * lift + 8.0 * noise(2),
        "trunk_flexion": 6.0 + 28.0 * squat + 7.0 * noise(),
        "trunk_side": 4.0 * noise(),
        "trunk_turn": 9.0 * noise() - 8.0 * swing[..., 0],
        "neck_flexion": 3.0 + 8.0 * noise(),
        "neck_side": 5.0 * noise(),
        "neck_turn": 16.0 * noise(),
        "clavicle": 2.0 + 4.0 * noise(2),
        "shoulder_flexion": 18.0 + 40.0 * low - 22.0 * swing + (1.0 - 0.6 * walk[..., None]) * 32.0 * noise(2),
        "shoulder_abduction": 16.0 + (1.0 - 0.6 * walk[..., None]) * 22.0 * np.abs(noise(2)),
        "shoulder_rotation": 10.0 + 14.0 * noise(2),
        "elbow": 22.0 + (1.0 - 0.5 * walk[..., None]) * 34.0 * noise(2),
    }
    limited = {}
    for name, angle in wanted.items():
        least, greatest = JOINT_LIMITS[name]
        middle, half = (greatest + least) / 2.0, (greatest - least) / 2.0
        limited[name] = middle + half * np.tanh((angle - middle) / half)
    free = {
        "heading": rng.uniform(0.0, 360.0, size=(clips, 1)) + 25.0 * noise(),
        "pelvis_lean": 4.0 * walk + 12.0 * squat + 3.0 * noise(),
        "pelvis_roll": 2.5 * noise(),
        "speed": 1200.0 * walk,
    }
    return limited | free


def _forward_kinematics(angles: dict[str, Floats], lengths: Floats, fps: float) -> Floats:
    """World positions in millimetres, shape (clips, T, 17, 3)."""
    heading = _turn("z", angles["heading"])
    pelvis = heading @ _turn("x", -angles["pelvis_lean"]) @ _turn("y", angles["pelvis_roll"])
    chest, lumbar = (
        pelvis
        @ _turn("z", share * angles["trunk_turn"])
        @ _turn("y", share * angles["trunk_side"])
        @ _turn("x", -share * angles["trunk_flexion"])
        for share in (1.0, 0.5)
    )
    head = (
        chest @ _turn("z", angles["neck_turn"]) @ _turn("y", angles["neck_side"]) @ _turn("x", -angles["neck_flexion"])
    )
    thigh = (
        pelvis[..., None, :, :]
        @ _turn("y", -_SIDES * angles["hip_abduction"])
        @ _turn("x", angles["hip_flexion"])
        @ _turn("z", -_SIDES * angles["hip_rotation"])
    )
    upper_arm = (
        chest[..., None, :, :]
        @ _turn("y", -_SIDES * angles["shoulder_abduction"])
        @ _turn("x", angles["shoulder_flexion"])
        @ _turn("z", _SIDES * angles["shoulder_rotation"])
    )
    clavicle = chest[..., None, :, :] @ _turn("y", -_SIDES * angles["clavicle"])
    down, up = (0.0, 0.0, -1.0), (0.0, 0.0, 1.0)
    direction = {
        **{1: pelvis @ (1.0, 0.0, 0.0), 4: pelvis @ (-1.0, 0.0, 0.0), 7: lumbar @ up, 8: chest @ up},
        **{9: head @ (0.0, 0.5, math.sqrt(0.75)), 10: head @ (0.0, -0.4, math.sqrt(0.84))},
    }
    shank, forearm = thigh @ _turn("x", -angles["knee"]), upper_arm @ _turn("x", angles["elbow"])
    for side, (knee, shoulder) in enumerate(((2, 14), (5, 11))):
        direction |= {knee: thigh[..., side, :, :] @ down, knee + 1: shank[..., side, :, :] @ down}
        direction[shoulder] = clavicle[..., side, :, :] @ (_SIDES[side] * 0.995, 0.0, -0.1)
        direction |= {shoulder + 1: upper_arm[..., side, :, :] @ down, shoulder + 2: forearm[..., side, :, :] @ down}

    skeleton = get_skeleton("h36m17")
    positions = np.zeros((*angles["heading"].shape, 17, 3))
    for joint in skeleton.order[1:]:
        unit = direction[joint] / np.linalg.norm(direction[joint], axis=-1, keepdims=True)
        positions[..., joint, :] = positions[..., skeleton.parents[joint], :] + lengths[joint] * unit
    walked = np.cumsum(heading @ (0.0, 1.0, 0.0) * angles["speed"][..., None] / fps, axis=1)
    walked[..., 2] = _ANKLE_HEIGHT - positions[..., (3, 6), 2].min(axis=-1)
    return positions + walked[..., None, :]


def _turn(axis: str, degrees: Floats) -> Floats:
    """Rotation matrices about an axis of the body, shape (..., 3, 3), counter-clockwise."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    angle = np.radians(degrees)
    matrix = np.broadcast_to(np.eye(3), (*angle.shape, 3, 3)).copy()
    matrix[..., first, first] = matrix[..., second, second] = np.cos(angle)
    matrix[..., second, first] = np.sin(angle)
    matrix[..., first, second] = -matrix[..., second, first]
    return matrix
