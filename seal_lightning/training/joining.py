"""One training step under SEAL: which of its losses the energy joins, and the one update of the loss-nets."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from seal_lightning import _distributed as ranks
from seal_lightning.training import host
from seal_lightning.training._guard import finite_with
from seal_lightning.training.batch import SealBatch
from seal_lightning.training.eval_prediction import with_eval_prediction
from seal_lightning.training.reading.frontier import Place, as_rows, find_place, gradient_at
from seal_lightning.training.reading.step import Found, WatchedStep
from seal_lightning.training.reading.watch import OPAQUE

__all__ = ["Joining"]


class Joining:
    """Joins the energy to the losses of one training step.

    The energy joins each loss in which a prediction meets a truth, once for each prediction. The loss-nets take one
    step, at the first of these losses. A loss that compares no pose is left alone.

    Args:
        model: The host with its mixin.
        step: Its step, watched.
    """

    def __init__(self, model: Any, step: WatchedStep) -> None:
        self.model, self.step = model, step
        self.took_part = False
        self._joined: list[Tensor] = []
        if not model.automatic_optimization:
            step.watch.joined = weakref.WeakMethod(self._directly)

    def output(self, output: Any) -> Any:
        """What an automatic host's step returned, with the energy in its loss."""
        loss = output["loss"] if isinstance(output, Mapping) else output
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            return output
        total = self.join(loss)
        if total is loss:
            return output
        return {**output, "loss": total} if isinstance(output, Mapping) else total

    def backward(self, loss: Tensor) -> Tensor:
        """The loss of a manual host's backward pass, with the energy; all processes agree before."""
        found = self._read(loss) if loss.requires_grad else None
        if ranks.world_size() > 1 and not self.took_part:
            others, _ = ranks.sum_of_numbers(float(found is not None), 0.0)
            if found is None and others:
                self._take_part()
        return loss if found is None else self._add(loss, *found)

    def _directly(self, loss: Tensor) -> Tensor:
        """The loss of which a manual host runs the backward pass without `manual_backward`, with the energy."""
        with self.step.unseen():
            return self.backward(loss)

    def join(self, loss: Tensor) -> Tensor:
        """The loss with the energy; the loss itself where it trains no pose."""
        found = self._read(loss)
        return loss if found is None else self._add(loss, *found)

    def finish(self) -> None:
        """After the step: a process that read nothing goes along with those that did."""
        if ranks.world_size() > 1 and not self.took_part:
            if self.model.automatic_optimization:
                self._take_part()
            else:
                self._wait_for_others()
        if not self._joined:
            self.model._seal_record.sat_out(self.step, self.model.automatic_optimization)

    def _wait_for_others(self) -> None:
        ended = 0.0
        while ended < ranks.world_size():
            others, ended = ranks.sum_of_numbers(0.0, 1.0)
            if others:
                self._take_part()
                return

    def _read(self, loss: Tensor) -> tuple[SealBatch, Place | None, bool] | None:
        """What is read of a loss, where forces are compared, and whether the host has added the energy itself."""
        model, step = self.model, self.step
        found = step.find(loss)
        overridden = model._seal_overridden
        if overridden:
            if not found and not self._may_hold_one(loss):
                return None
        elif not found or (found.unseen is not None and not _reaches(loss, found.unseen[0].tensor)):
            return None
        compared = found.prediction
        if compared is not None and any(compared is tensor for tensor in self._joined):
            return None
        read = model._seal_read(step, found, loss)
        if read is None:
            return None
        if found.unseen is not None and not overridden:
            model._seal_record.warn(
                "The loss of this step cannot be followed, since it is compiled, a custom function, or made in a "
                "network that is given the truth by name: prediction and truth are told by their shapes, and masks not "
                "at all. Override `seal_batch(self, batch, inputs, output)` to be sure."
            )
        model._seal_record.met |= found.meeting is not None
        place = None if found.stated is not None else self._place(found, read, loss)
        if place is None and found.stated is None:
            return None
        model._seal_record.read(model, step, found, read)
        self._joined.append(read.prediction if compared is None else compared)
        return read, place, found.stated is not None

    def _may_hold_one(self, loss: Tensor) -> bool:
        """Whether a loss without a meeting may train the prediction that an override names.

        That of an automatic host may: it is the only one. Of a manual host, which hands over others as well, none does
        once a meeting was seen in one of its losses.
        """
        return self.model.automatic_optimization or not self.model._seal_record.met

    def _place(self, found: Found, read: SealBatch, loss: Tensor) -> Place | None:
        """Where the forces on a prediction are compared; None where the loss does not train what it is made from."""
        meeting = found.meeting
        if not self.model._seal_overridden:
            if meeting is not None and meeting.edge is not None:
                return Place((meeting.edge,), own=True)
            return find_place(loss, read.prediction, None)
        place = find_place(loss, read.prediction, None if meeting is None else meeting.edge)
        if place.edges:
            return place if place.trains else None
        if place.trains and self.model.automatic_optimization:
            raise ValueError(
                "Expected the loss of `training_step` to depend on the prediction that `seal_batch` returned, or on "
                "what it was made from, but it depends on neither. Return None for a step that trains no pose."
            )
        return None

    def _add(self, loss: Tensor, read: SealBatch, place: Place | None, stated: bool) -> Tensor:
        """The loss with the energy of what was read of it, after the loss-nets' update."""
        model = self.model
        again, alone = self.took_part or model._seal_again(), self.took_part
        gradient = None if stated or place is None or not self._pulls(again) else self._gradient(loss, read, place)
        if not again and model._seal_optimization.trains and model.seal.needs_eval_prediction:
            read = with_eval_prediction(self.step, read, self._joined[-1])
        used = read.complete()
        if not again:
            model._seal_look(used, self.step.keypoints)
        if gradient is not None and not model._seal_overridden:
            model._seal_look.at_forces(read, gradient)
        model._seal_last = read.detach() if read is used else used.detach()
        at = None
        if place is not None and not (place.own and used.prediction is read.prediction):
            at = place.edges
            gradient = None if gradient is None else as_rows(gradient, len(read.prediction))
        self.took_part = True
        with ranks.alone(alone):
            used = self._scored(used, again)
            if stated:
                self._train(used, loss, gradient, again)
                return loss
            energy = self._energy(used, loss, gradient, at, again)
            return loss if energy is None else loss + energy

    def _energy(self, used: SealBatch, loss: Tensor, gradient: Tensor | None, at: Any, again: bool) -> Tensor | None:
        """The update of the loss-nets, then the energy that the pose-net feels; None where it feels none."""

        def eager() -> Tensor | None:
            self._train(used, loss, gradient, again)
            return self._pull(used, gradient, at)

        graphed = self.model._seal_optimization.graphed
        if graphed is None or gradient is None or again:
            return eager()
        return graphed(self.model, used, loss, gradient, at is not None, eager)  # type: ignore[no-any-return]

    def _gradient(self, loss: Tensor, read: SealBatch, place: Place) -> Tensor:
        """The gradient of the loss at the prediction, float32."""
        watch, calls = self.step.watch, self.step.calls
        compared = self._joined[-1]
        behind = watch.made_of(compared)
        between = [call for call in calls if watch.made_of(loss) & call.bit & ~behind]
        hooked = [call.name for call in between if call.hooked]
        walk = watch.ungraded or bool(between) or bool(watch.made_of(loss) & OPAQUE & ~behind)
        factor = host.loss_factor(self.model, loss)  # small gradients would vanish in float16
        with watch.gates.looking(loss, compared, walk, hooked):
            gradient = gradient_at(loss if factor is None else loss * factor, read.prediction, place)
        # In half precision, the quotient of a small gradient would be zero.
        return gradient.float() if factor is None else gradient.float() / factor

    def _scored(self, read: SealBatch, again: bool) -> SealBatch:
        """The frames that are scored, with loss-nets and forces in the mode of this step."""
        model, trains = self.model, self.model._seal_optimization.trains
        if model.seal.training != trains:  # Lightning ends validation without a call of `train`
            model.seal.train(trains)
        model.seal.forces.train(not again)  # the running mean of the pull does not move on
        draw = model.seal.draws - again  # a closure that is evaluated again sees the same frames
        nets = model.seal.loss_nets
        in_a_row = any(nets.sees_clips(name) for name in nets)
        return read.some_frames(model._seal_config.frames_per_clip, model.seal.seed, draw, in_a_row=in_a_row)

    def _train(self, used: SealBatch, loss: Tensor | None, gradient: Tensor | None, again: bool) -> None:
        """The update of the loss-nets."""
        model, optimization = self.model, self.model._seal_optimization
        if again:
            return
        if not optimization.trains:
            model.seal.draws += 1
            return
        if used.target is None:
            raise ValueError("Expected `seal_batch` to return a `target` to train the loss-nets on, but got None.")
        optimization.prepare()
        given = (used.prediction, used.target, used.keypoints, used.visibility, used.labelled)
        ranking_loss = model.seal.ranking_loss(*given, eval_prediction=used.eval_prediction)
        optimization.reads = loss is not None
        model.seal_step(finite_with(ranking_loss, *(number for number in (loss, gradient) if number is not None)))
        optimization.schedule()

    def _pulls(self, again: bool) -> bool:
        """Whether the pose-net feels an energy in this step: not at weight zero, and not during warm-up."""
        model = self.model
        felt = model.seal.draws + (not again) > model._seal_config.warmup_steps + 1
        return felt and any(term.pulls for term in model.seal.energies.values())

    def _pull(self, used: SealBatch, gradient: Tensor | None, at: Any) -> Tensor | None:
        seal, masks = self.model.seal, {"visibility": used.visibility, "labelled": used.labelled}
        if gradient is None:
            seal.observe(used.prediction, used.keypoints, used.visibility)
            return None
        energy: Tensor = seal.energy_loss(used.prediction, used.keypoints, gradient, at=at, **masks)
        return energy

    def _take_part(self) -> None:
        """Go along with the other processes, with no sample of one's own."""
        self.took_part = True
        seal = self.model.seal
        pose = seal.frame.bone_length.new_zeros(0, 2, seal.skeleton.num_joints, 3)
        again = self.model._seal_again()
        gradient = pose if self._pulls(again) else None
        used = self._scored(SealBatch(pose[..., :2], pose, pose, eval_prediction=pose), again)
        self._train(used, None, gradient, again)
        self._pull(used, None if gradient is None else used.prediction, None)


def _reaches(loss: Tensor, prediction: Tensor) -> bool:
    return bool(find_place(loss, prediction, None).edges)
