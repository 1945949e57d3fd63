"""Passes through the loss-nets: scoring poses, ranking truths against negatives, the slope of an energy."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seal_lightning._values import kind_of
from seal_lightning.loss_nets import LossNet
from seal_lightning.loss_nets.frame import FramedPoses
from seal_lightning.objectives.penalties import Probe

__all__ = ["LossNets", "SharedPass", "SharedPasses"]


class LossNets(nn.ModuleDict):
    """The loss-nets of a criterion by name, run in a precision of their own, whatever autocast the host runs in.

    Args:
        nets: One loss-net an energy.
        precision: ``"float32"``, or ``"bfloat16"`` for autocast.

    Raises:
        TypeError: If a net is not a module.
        ValueError: If a name cannot be the name of a submodule.
    """

    def __init__(self, nets: Mapping[str, LossNet], precision: str) -> None:
        for name, net in nets.items():
            if not isinstance(net, nn.Module):
                raise TypeError(f"Expected `loss_net` of {name!r} to return a LossNet, but got {kind_of(net)}.")
            if "." in name or hasattr(LossNets, name) or name in ("precision", "training"):
                raise ValueError(f"Expected `name` of an energy to be free for a module, but got {name!r}.")
        super().__init__(nets)
        self.precision = precision

    def sees_clips(self, name: str) -> bool:
        """Whether a loss-net is shown clips, and not single poses."""
        return bool(getattr(self[name], "sees_clips", False))

    def score(self, name: str, poses: FramedPoses) -> Tensor:
        """Energies (N,) of poses, each alone or as part of its clip.

        Raises:
            ValueError: If the loss-net does not return one energy per pose, or sees clips and there are none.
        """
        clips = self.sees_clips(name)
        if clips and poses.frames < 2:
            raise ValueError(
                f"Expected clips (B, T, {poses.pose.shape[1]}, 3) of at least two frames, since the loss-net of "
                f"{name!r} sees clips, but got single poses. A model that predicts single frames needs a loss-net that "
                "sees these, such as StructureLossNet."
            )
        pose: Tensor
        keypoints_2d, pose, *seen = poses.clips() if clips else (poses.keypoints_2d, poses.pose)
        # No cache of weights that were cast to bfloat16: inside of the host's own autocast it would outlive the next
        # step of the loss-nets' optimizer.
        bfloat16 = self.precision == "bfloat16"
        with torch.autocast(pose.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False):
            energy: Tensor = self[name](keypoints_2d, pose, *seen)
        if clips and energy.shape == pose.shape[:1]:
            energy = energy[:, None].expand(pose.shape[:2])
        if energy.shape != pose.shape[:-2]:
            raise ValueError(
                f"Expected `loss_net` to return one energy a pose, shape {tuple(pose.shape[:-2])}, "
                f"but {name!r} returned {tuple(energy.shape)}."
            )
        return energy.float().flatten()

    def slope(self, name: str, poses: FramedPoses) -> tuple[Tensor, Tensor]:
        """Energies (N,) of poses, and the gradient of the sum of those that are valid at the poses (N, J, 3)."""
        pose = poses.pose.detach().requires_grad_()
        with torch.enable_grad():
            energy = self.score(name, poses.with_poses(pose))
        return energy.detach(), torch.autograd.grad(energy, pose, poses.valid)[0]

    def rank(
        self,
        name: str,
        truth: FramedPoses,
        negatives: Tensor,
        probe: Probe | None = None,
        shared: SharedPass | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Score truths and negatives in one batch, and the poses of a gradient penalty in another.

        Args:
            name: Which loss-net.
            truth: N true poses.
            negatives: Negatives (K, N, J, 3).
            probe: The poses and the penalty of a gradient penalty. If the poses are the truths themselves, these are
                scored here, and not in the first batch.
            shared: Keeps what the pose-net needs of this pass.

        Returns:
            Energies of the truth (N,) and of the negatives (K, N), and the gradient penalty (N,), None where there is
            no probe; without a graph under `torch.no_grad`.
        """
        at_truth = probe is not None and probe.pose is truth.pose
        poses = [*negatives] if at_truth else [truth.pose, *negatives]
        first = len(poses) - len(negatives)
        row = 0 if shared is None else shared.enter(poses, before=first)
        energy = self.score(name, truth.with_poses(*poses)).view(len(poses), len(truth.pose))
        clips = self.sees_clips(name)
        if shared is not None:
            shared.leave(energy, row, truth.valid if clips else None)
        # One split, whose backward pass is one operation; every index would have its own, and a sum beside it.
        sizes = first, len(negatives), len(poses) - first - len(negatives)
        energy_true, energy_negative, _ = energy.split_with_sizes(sizes)
        if probe is None:
            return energy_true.flatten(), energy_negative, None
        trained = torch.is_grad_enabled()
        pose = probe.pose.detach().requires_grad_()
        with torch.enable_grad():  # the slope takes a graph even where the penalty is to have none
            with sdpa_kernel(SDPBackend.MATH):  # the one attention that can be differentiated twice
                energy_there = self.score(name, truth.with_poses(pose))
            # The slope at a frame is that of all energies of its clip, those of frames without a root left out.
            counted = energy_there * truth.valid if clips and truth.masked else energy_there
            penalty = probe.penalty(counted, pose)
        if not trained:
            energy_there, penalty = energy_there.detach(), penalty.detach()
        return energy_there if at_truth else energy_true.flatten(), energy_negative, penalty


_FLOOR = 1e-6  # smallest cotangent of a prediction's energy, as a share of 1 / N


class SharedPass:
    r"""Takes the slope of the energy at the predictions from the backward pass that trains the loss-net.

    The energy of a sample depends on that sample alone, so the gradient of the ranking loss `L` at a prediction is
    :math:`\partial L / \partial E_i \cdot \partial E_i / \partial \hat y_i`. Divided by its first factor, the
    cotangent, it is the slope. If the cotangent is zero (an inactive hinge, a saturated NCE), a millionth of ``1 / N``
    takes its place, which makes no difference to the loss-net, and the slope can still be computed.

    Where a loss-net sees clips, the gradient at a frame is a sum over the energies of the clip, with a factor each: no
    division gives the slope. It is then taken at once, by a backward pass of its own through the same forward pass.

    Args:
        predicted: Predictions in the loss-nets' frame (N, J, 3).
        row: Index of the prediction among the negatives; None if it is not one of them and is only scored beside them.
    """

    def __init__(self, predicted: Tensor, row: int | None) -> None:
        self.leaf = predicted.detach().clone().requires_grad_()
        self.row = row
        self.energy = self.cotangent = predicted.new_zeros(())
        self._taken: Tensor | None = None

    @property
    def done(self) -> bool:
        """Whether the slope is known: mostly, whether the backward pass was run."""
        return self._taken is not None or self.leaf.grad is not None

    @property
    def waits(self) -> bool:
        """Whether the slope comes from a backward pass that is still to be run."""
        return self._taken is None

    @property
    def slope(self) -> Tensor:
        """Gradient of every prediction's energy (N, J, 3)."""
        if self._taken is not None:
            return self._taken
        if self.leaf.grad is None:
            raise RuntimeError("Expected the backward pass of the ranking loss to be run before its slope is read.")
        return self.leaf.grad / self.cotangent[:, None, None]

    def enter(self, poses: list[Tensor], before: int) -> int:
        """Put the predictions among the poses to be scored, after the first ``before`` of them; return their index."""
        if self.row is None:
            poses.append(self.leaf)
            return len(poses) - 1
        poses[before + self.row] = self.leaf
        return before + self.row

    def leave(self, energy: Tensor, row: int, valid: Tensor | None = None) -> None:
        """Keep the predictions' energies, found in the given row of all energies (K, N), and their cotangents to come.

        Where the loss-net sees clips, ``valid`` says which energies count (N,), and the slope is taken here.

        The hook runs in the backward pass, when the gradient at the energies is known and the loss-net is still to be
        walked through. What it returns goes on in place of that gradient: the pass through the loss-net starts from
        the cotangents kept here, so that `slope` divides by exactly the numbers that the gradient was multiplied with.
        """
        floor = _FLOOR / max(1, energy.shape[1])
        self.energy = energy[row].detach()
        if valid is not None:
            (self._taken,) = torch.autograd.grad(energy[row], self.leaf, valid, retain_graph=True)
            return

        def keep(gradient: Tensor) -> Tensor:
            # A second backward pass of the same graph would add its gradient to that of the first.
            self.leaf.grad = None
            # Negative, as the cotangent of a negative's energy is: ranking pushes it up.
            cotangent = torch.where(gradient[row].abs() < floor, -floor, gradient[row])
            self.cotangent = cotangent
            return torch.cat([gradient[:row], cotangent[None], gradient[row + 1 :]])

        energy.register_hook(keep)  # type: ignore[no-untyped-call]


class SharedPasses:
    """The passes that were made for one batch, found again by its tensors.

    The tensors are kept, without their graph: an address in memory says which tensor it is only as long as no other
    one can have taken the place of the first.

    Args:
        passes: One pass an energy.
        batch: The tensors that the passes depend on; None for a mask that was not given.
    """

    def __init__(self, passes: Mapping[str, SharedPass], *batch: Tensor | None) -> None:
        self._passes = dict(passes)
        self._kept = [None if tensor is None else tensor.detach() for tensor in batch]
        self._identities = [_identity(tensor) for tensor in batch]

    @property
    def leaves(self) -> list[Tensor]:
        """The tensors whose gradient the passes wait for."""
        return [shared.leaf for shared in self._passes.values() if shared.waits]

    def of(self, *batch: Tensor | None) -> dict[str, SharedPass]:
        """The passes, where the tensors are the same and were not written to since; else none."""
        return self._passes if [_identity(tensor) for tensor in batch] == self._identities else {}


def _identity(tensor: Tensor | None) -> tuple[object, ...] | None:
    if tensor is None:
        return None
    version = 0 if tensor.is_inference() else tensor._version  # tensors of inference mode do not count their changes
    return tensor.device, tensor.dtype, tensor.data_ptr(), version, tensor.shape, tensor.stride()
