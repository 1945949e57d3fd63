"""What shapes cannot tell about a host's batches, looked at twice in a training: every look waits for the device."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from seal_lightning.functional import limb_symmetry_error
from seal_lightning.functional.poses import segment_lengths
from seal_lightning.loss.checks import check_poses
from seal_lightning.skeleton import Skeleton
from seal_lightning.training._unfelt import why_unfelt
from seal_lightning.training._views import why_views
from seal_lightning.training.batch import SealBatch

__all__ = ["FirstLook"]

_SETTLED = 1000  # steps after which predictions have about the size of a body, in whatever unit
_OTHER_UNIT = 100.0  # times as long bones: metres and millimetres are 1000 apart, a model that still learns a few
_PIXELS = 10.0  # mean size of a coordinate; normalised ones are of order 1
_IMPLAUSIBLE_ASYMMETRY = 15.0  # percent
_MEASURED_ASYMMETRY = 5.0  # percent; bodies have less
_FLAGS = 2  # of COCO: not there, hidden, visible
_SHORTEST_BONE = 0.2  # of the mean bone; of the joints of Human3.6M it is 0.4
# Lengths of bones, in mean bones of their pose, vary by so much from sample to sample, in the median over the bones. Of
# motion capture of several people it is 0.06, of image points with a depth 0.1; of standardised poses, rotations and
# image points with a score 0.3 and more.
_VARYING_BONES = 0.25
# Of what varies over the joints of a pose, so much is no linear function of their places. In motion capture, of a
# confidence 0.7 and more, and 0.45 where the far side of the body is hidden; of a depth that is off by half of how it
# varies 0.2.
_LEFT_OF_COORDINATE = 0.3
_ENOUGH_JOINTS = 10
_OVERRIDE = "override `seal_batch(self, batch, inputs, output)`"


class FirstLook:
    """Looks at the values of the first step, and again once the model has settled; warns of what is odd.

    Args:
        skeleton: The skeleton of the poses.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.steps = 0
        self._confidence: bool | None = None
        self._felt = False  # whether the forces of a step were looked at

    def __call__(self, read: SealBatch, given: Tensor | None = None) -> None:
        """Look at a step, if it is one of the two.

        Args:
            read: What was read of it.
            given: The tensor of the step that the keypoints are, or of which they are the centre frame.

        Raises:
            ValueError: If shapes do not fit, or the true poses are none: all joints lie in one point, the third
                coordinate is always the same, or all x come before all y.
        """
        self.steps += 1
        if self.steps not in (1, _SETTLED):
            return
        truth = [] if read.target is None else [read.target]
        read = read.complete()
        keypoints_2d = read.keypoints
        check_poses(self.skeleton, read.prediction, keypoints_2d, read.visibility, read.labelled, *truth)
        seen = _seen(read)
        if self.steps == 1:
            _look_at_keypoints(keypoints_2d, read.target, seen)
            _look_at_window(keypoints_2d, given, read.target, seen)
            self._look_at_root(seen)
        if read.target is None or not self.skeleton.bones:
            return
        target = torch.where(seen[..., None], read.target.float(), 0.0)
        if self.steps == 1:
            self._look_at_truth(target, seen)
        else:
            self._look_at_unit(read.prediction.detach().float(), target, seen)

    def at_forces(self, read: SealBatch, gradient: Tensor) -> None:
        """Look once at where the host's loss pulls; warn of what is taken to count and feels no force.

        Args:
            read: What was read of a step.
            gradient: The gradient of the host's loss at the prediction.
        """
        if self._felt or gradient.shape != read.prediction.shape:
            return
        self._felt = True
        counted = _seen(read).clone()
        counted[..., list(self.skeleton.root_joints)] = (
            False  # it counts where it is not compared: poses are aligned there
        )
        unfelt = why_unfelt(read, counted, gradient, self.skeleton.names)
        if unfelt is not None:
            warnings.warn(
                "Of what is taken to count, the loss of the first step leaves some without a force, along one axis or "
                f"all: {unfelt}. If a mask that was not seen leaves them out, {_OVERRIDE} and return a `visibility` or "
                "`labelled` that does so, too.",
                stacklevel=4,
            )

    def trusts(self, keypoints: Tensor) -> bool:
        """Whether the third channel of what may be keypoints is a confidence; looked at once."""
        if self._confidence is None:
            third = keypoints[..., 2]
            self._confidence = bool(((third >= 0) & (third <= 1)).all())
            if not self._confidence:
                warnings.warn(
                    f"The network was given {tuple(keypoints.shape)}, whose third channel is no confidence in [0, 1]: "
                    f"these are not taken for keypoints. If they are some, {_OVERRIDE}.",
                    stacklevel=2,
                )
        return self._confidence

    def _look_at_truth(self, target: Tensor, seen: Tensor) -> None:
        broken = int((~target.isfinite()).flatten(-2).any(-1).sum())
        if broken:
            warnings.warn(
                f"Of the true poses, {broken} hold NaN or infinity. A batch with these teaches the loss-nets nothing: "
                f"{_OVERRIDE} and return a `visibility` or `labelled` that leaves them out.",
                stacklevel=4,
            )
            return
        lengths, counted = self._bones(target, seen)
        if bool(counted.any() and (torch.where(counted, lengths, 0.0).sum() == 0)):
            raise ValueError(
                "Expected the true poses to have bones longer than zero, but all joints of each lie in one point. If "
                f"zeros stand for missing truth, {_OVERRIDE} and return a `labelled` or `visibility` that says so."
            )
        _expect_depth(target, seen)
        asymmetry = self._asymmetry(target, seen)
        varying = _varying(lengths, seen)
        if asymmetry > _IMPLAUSIBLE_ASYMMETRY:
            self._expect_joints_before_axes(target, seen)
            what = f"left and right bones differ by {asymmetry:.0f} % on average"
            order = "; if the joints are in another order, set `skeleton` in SealConfig"
        elif varying > _VARYING_BONES:
            what, order = f"bones change their lengths by {100 * varying:.0f} % from sample to sample", ""
        else:
            return
        no_pose = (
            "; if they are rotations, velocities or image points with a score, return the poses, or None for a step "
            "that trains none"
        )
        warnings.warn(
            f"The true poses' {what}. If the targets are normalised by mean and standard deviation, {_OVERRIDE} and "
            f"return `SealBatch(keypoints_2d, prediction * std + mean, target * std + mean)`"
            f"{no_pose if varying > _VARYING_BONES else ''}{order}.",
            stacklevel=4,
        )

    def _asymmetry(self, target: Tensor, seen: Tensor) -> float:
        """By how many percent left and right bones differ; 0 where the skeleton has none."""
        paired = self.skeleton.paired_bones
        return float(limb_symmetry_error(target, self.skeleton, visibility=seen)) if paired else 0.0

    def _expect_joints_before_axes(self, target: Tensor, seen: Tensor) -> None:
        joints = self.skeleton.num_joints

        def turned(pose: Tensor) -> Tensor:
            return pose.reshape(*pose.shape[:-2], 3, joints).transpose(-1, -2)

        def symmetric(pose: Tensor, percent: float) -> bool:
            return float(limb_symmetry_error(turned(pose), self.skeleton)) < percent

        # Poses far from the origin look symmetric in the other order, too, but not without their centre, and with bones
        # of no length.
        lengths = segment_lengths(turned(target), self.skeleton).flatten(0, -2).mean(0)
        centred = target - target.mean(-2, keepdim=True)
        bodies = symmetric(target, _MEASURED_ASYMMETRY) and symmetric(centred, _IMPLAUSIBLE_ASYMMETRY)
        if bool(seen.all()) and bodies and float(lengths.min() / lengths.mean()) > _SHORTEST_BONE:
            raise ValueError(
                "Expected x, y and z of each joint side by side in the true poses, but they are bodies where all x "
                f"come first, then all y and all z. To turn them, {_OVERRIDE} and return `SealBatch(keypoints_2d, "
                f"prediction.view(-1, 3, {joints}).transpose(1, 2), target.view(-1, 3, {joints}).transpose(1, 2))`; "
                "keypoints likewise."
            )

    def _look_at_root(self, seen: Tensor) -> None:
        root = list(self.skeleton.root_joints)
        if bool(seen.any() and not seen[..., root].all(-1).any()):
            warnings.warn(
                f"The root, joint {root}, counts in no sample of the first step. Poses are compared where their roots "
                f"are, so that one without it feels no energy. If the root is known, {_OVERRIDE} and return a "
                "`visibility` that has it.",
                stacklevel=4,
            )

    def _look_at_unit(self, prediction: Tensor, target: Tensor, seen: Tensor) -> None:
        (lengths, counted), (true_lengths, _) = self._bones(prediction, seen), self._bones(target, seen)
        ratio = float(torch.where(counted, lengths, 0.0).sum() / torch.where(counted, true_lengths, 0.0).sum())
        if ratio > _OTHER_UNIT or 0 <= ratio < 1 / _OTHER_UNIT:
            warnings.warn(
                f"After {_SETTLED} steps the predicted bones are {ratio:.3g} times as long as the true ones. If "
                f"prediction and target are in different units, {_OVERRIDE} and return both in one.",
                stacklevel=4,
            )

    def _bones(self, pose: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Lengths of all bones, and which of them have both ends visible."""
        ends = torch.tensor(self.skeleton.bones, device=pose.device)
        return segment_lengths(pose, self.skeleton), seen[..., ends[:, 0]] & seen[..., ends[:, 1]]


def _seen(read: SealBatch) -> Tensor:
    """Joints (..., J) that are visible, of samples that are labelled."""
    shape = read.prediction.shape[:-1]
    seen = torch.ones(shape, dtype=torch.bool, device=read.prediction.device)
    if read.visibility is not None:
        seen = seen & read.visibility.bool()
    if read.labelled is not None:
        seen = seen & read.labelled.view(-1, *[1] * (len(shape) - 1))
    return seen


def _expect_depth(target: Tensor, seen: Tensor) -> None:
    third = target[..., 2][seen]
    if third.numel() < 2:
        return
    constant = bool((third == third[0]).all() and third[0] != 0)
    if not constant and not bool((third.frac() == 0).all() and (third >= 0).all() and 0 < third.max() <= _FLAGS):
        return
    what = f"{float(third[0]):g} in all joints, as in homogeneous" if constant else "0, 1 or 2, as the flag beside"
    raise ValueError(
        f"Expected true poses in three dimensions, but the third coordinate is {what} image points. "
        f"{_OVERRIDE[0].upper()}{_OVERRIDE[1:]} and return the poses, or None for a step that trains no pose."
    )


def _varying(lengths: Tensor, seen: Tensor) -> float:
    """By how much the lengths of bones, in mean bones of their pose, vary between poses that are seen whole."""
    whole = lengths[seen.all(-1)]
    if len(whole) < 2:
        return 0.0
    shares = whole / whole.mean(-1, keepdim=True)
    return float((shares.std(0) / shares.mean(0)).median())


def _look_at_window(keypoints_2d: Tensor, given: Tensor | None, truth: Tensor | None, seen: Tensor) -> None:
    rows, (joints, channels) = len(keypoints_2d), keypoints_2d.shape[-2:]
    frames = 1 if given is None or given.dim() < 3 else given.shape[1]
    if given is None or given.shape[:1] != (rows,) or given.numel() != rows * frames * joints * channels:
        return
    window = given.reshape(rows, frames, joints, channels)
    if frames == 1 or not torch.equal(window[:, frames // 2], keypoints_2d.reshape(rows, -1, joints, channels)[:, 0]):
        return
    window, whole = window[..., :2].float(), seen.reshape(rows, joints).all(-1)
    if truth is not None and bool(whole.any()):
        window, truth = window[whole], truth.float().reshape(rows, joints, 3)[whole]
    why = why_views(window, truth)
    if why is not None:
        warnings.warn(
            f"The keypoints {tuple(given.shape)} of one pose are taken for a window of {frames} frames, of which the "
            f"centre is used, but {why}. If they are the views of {frames} cameras, {_OVERRIDE} and return those of "
            "one camera, or no keypoints.",
            stacklevel=5,
        )


def _is_coordinate(third: Tensor, truth: Tensor, seen: Tensor) -> bool:
    """Whether a number of each joint is, within a pose, a linear function of where the joint is."""
    third, truth, joints = third.flatten(0, -2), truth.float().flatten(0, -3), third.shape[-1]
    whole = seen.flatten(0, -2).all(-1) & truth.isfinite().all(-1).all(-1)
    centred = third[whole] - third[whole].mean(-1, keepdim=True)
    places = truth[whole] - truth[whole].mean(-2, keepdim=True)
    varying = centred.square().sum(-1) > 0
    if not bool(varying.any()) or joints < _ENOUGH_JOINTS:
        return False
    centred, places = centred[varying, :, None], places[varying]
    off = (centred - places @ (torch.linalg.pinv(places) @ centred)).square().sum((-2, -1))
    # Three numbers always explain a share of what varies over a few joints.
    left = off / centred.square().sum((-2, -1)) * (joints - 1) / (joints - 4)
    return float(left.median()) < _LEFT_OF_COORDINATE


def _look_at_keypoints(keypoints_2d: Tensor, truth: Tensor | None, seen: Tensor) -> None:
    third = torch.where(seen, keypoints_2d[..., -1].float(), 0.0)
    confident = keypoints_2d.shape[-1] == 2 or bool(((third >= 0) & (third <= 1)).all())
    if not confident or (keypoints_2d.shape[-1] == 3 and truth is not None and _is_coordinate(third, truth, seen)):
        what = "follows the place of the true joints" if confident else "is no confidence from 0 to 1"
        warnings.warn(
            f"The third channel of the keypoints {what}. If the network is given something else than keypoints, as "
            f"poses that it refines, {_OVERRIDE} and return what the keypoints are, or None for them.",
            stacklevel=5,
        )
    size = torch.where(seen[..., None], keypoints_2d[..., :2].float(), torch.nan).abs().nanmean()
    if float(size) > _PIXELS:
        warnings.warn(
            f"The keypoints are of order {float(size):.0f}. If they are pixels, {_OVERRIDE} and return screen "
            "coordinates of order 1, as `seal_lightning.data.normalize_screen` makes them: the loss-nets expect these.",
            stacklevel=5,
        )
