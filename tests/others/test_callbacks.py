"""Callbacks of other people that act on a training: they do so as with the host alone, over hosts of every style."""

import lightning
import pytest
import torch

from tests.others.others import STYLES, host_of, library_of, recorder, three, trainer_maker
from tests.promises.twins import config, same, seal


def early_stopping(library, folder):
    callback = library.callbacks.EarlyStopping("val_loss", patience=1, min_delta=10.0)

    def effect(run):
        assert (callback.stopped_epoch, run.trainer.global_step) == (1, 8)

    return {"callbacks": [callback], "max_epochs": 6}, effect


def model_checkpoint(library, folder):
    """The best two of four by the logged loss, and the last."""
    kwargs = {"monitor": "train_loss", "save_top_k": 2, "save_last": True, "filename": "{step}"}
    callback = library.callbacks.ModelCheckpoint(folder, every_n_train_steps=2, **kwargs)
    losses = recorder(
        library, lambda trainer, model: (trainer.global_step, float(trainer.callback_metrics["train_loss"]))
    )

    def effect(run):
        best = sorted((loss, step) for step, loss in losses.seen if step % 2 == 0)[:2]
        names = {f"step={step}.ckpt": loss for loss, step in best}
        assert {path.name for path in folder.iterdir()} == {*names, "last.ckpt"}
        scores = {path.removeprefix(f"{folder}/"): float(score) for path, score in callback.best_k_models.items()}
        assert scores == names
        saved = torch.load(folder / "last.ckpt", weights_only=True)
        assert same(saved["state_dict"], run.model.state_dict())
        assert ("seal" in saved) == hasattr(run.model, "seal")
        saved.pop("seal", None)
        return saved

    return {"callbacks": [losses, callback], "enable_checkpointing": True}, effect


def stochastic_weight_averaging(library, folder):
    """The weights of the last two epochs' beginnings, averaged; batch-norm's statistics anew for automatic hosts."""
    weights = recorder(library, lambda trainer, model: model.net[1].weight.detach().clone(), "on_train_epoch_start")
    callback = library.callbacks.StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1)

    def effect(run):
        assert len(weights.seen) == 4  # one more than `max_epochs`, for the statistics
        if run.model.automatic_optimization:
            torch.testing.assert_close(run.model.net[1].weight.detach(), sum(weights.seen[:3]) / 3)
        return callback.n_averaged

    return {"callbacks": [weights, callback], "max_epochs": 3}, effect


def ema(library, folder):
    weights = recorder(library, lambda trainer, model: model.net[1].weight.detach().clone())
    callback = library.callbacks.EMAWeightAveraging(decay=0.7)

    def effect(run):
        average = weights.seen[0]
        for weight in weights.seen[1:]:
            average = 0.7 * average + 0.3 * weight
        torch.testing.assert_close(run.model.net[1].weight.detach(), average)

    return {"callbacks": [weights, callback]}, effect


def own_ema(library, folder):
    """What users write by hand: averaged weights are swapped in for validation, by the names of the `state_dict`."""

    class Shadow(library.Callback):
        def on_fit_start(self, trainer, model):
            self.shadow = {key: value.clone() for key, value in model.state_dict().items()}

        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            for key, value in model.state_dict().items():
                self.shadow[key] = torch.lerp(self.shadow[key].double(), value.double(), 0.3).to(value.dtype)

        def on_validation_start(self, trainer, model):
            self.kept = {key: value.clone() for key, value in model.state_dict().items()}
            model.load_state_dict(self.shadow)

        def on_validation_end(self, trainer, model):
            model.load_state_dict(self.kept)

    callback = Shadow()

    def effect(run):
        logged = float(run.trainer.callback_metrics["val_loss"])
        run.model.load_state_dict(callback.shadow)
        (again,) = trainer_maker(library)().validate(run.model, verbose=False)
        run.model.load_state_dict(callback.kept)
        assert again["val_loss"] == pytest.approx(logged, rel=1e-6)
        return callback.shadow

    return {"callbacks": [callback]}, effect


def batch_size_finder(library, folder):
    callback = library.callbacks.BatchSizeFinder("power", steps_per_trial=1, init_val=2, max_trials=2)

    def effect(run):
        assert callback.optimal_batch_size == run.model.batch_size == 4
        assert run.trainer.global_step == 2 * 32 // 4

    return {"callbacks": [callback], "enable_checkpointing": True}, effect


def learning_rate_finder(library, folder):
    callback = library.callbacks.LearningRateFinder(num_training_steps=16)

    def effect(run):
        found = callback.optimal_lr.suggestion()
        assert (found is None) == (not run.model.automatic_optimization)  # it finds none for manual hosts
        assert run.model.hparams.lr == (found or 1e-2)
        return repr(callback.optimal_lr.results)  # text, since NaN is not equal to NaN

    return {"callbacks": [callback], "max_epochs": 4, "enable_checkpointing": True}, effect


def pruning(library, folder):
    """Half of the host's weights become zero; none of the loss-nets'."""
    callback = library.callbacks.ModelPruning("l1_unstructured", amount=0.5, apply_pruning=lambda epoch: epoch == 1)

    def effect(run):
        pruned = torch.cat([value.flatten() for name, value in run.model.named_parameters()])
        assert float((pruned == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
        if hasattr(run.model, "seal"):
            assert all((value != 0).all() for value in run.model.seal.parameters() if value.dim() == 2)

    return {"callbacks": [callback]}, effect


def backbone_finetuning(library, folder):
    weights = recorder(
        library, lambda trainer, model: model.backbone[1].weight.detach().clone(), "on_train_epoch_start"
    )
    callback = library.callbacks.BackboneFinetuning(unfreeze_backbone_at_epoch=2, backbone_initial_lr=1e-3)

    def effect(run):
        assert torch.equal(*weights.seen[:2])
        assert not torch.equal(weights.seen[0], run.model.backbone[1].weight)
        assert len(run.trainer.optimizers[0].param_groups) == 2

    return {"callbacks": [weights, callback], "max_epochs": 3}, effect


class Backbone:
    """Before a host: calls all but its last layer the backbone, and trains what is not frozen."""

    @property
    def backbone(self):
        return self.net[:-1]

    def configure_optimizers(self):
        return torch.optim.Adam([value for value in self.parameters() if value.requires_grad], lr=1e-2)


CASES = (
    early_stopping,
    model_checkpoint,
    stochastic_weight_averaging,
    ema,
    own_ema,
    batch_size_finder,
    learning_rate_finder,
    pruning,
)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_callback_does_its_work(case, style, tmp_path):
    three(style, case, tmp_path)


def interrupted(style, folder, **arguments):
    """A fit that fails inside of a step, after five steps of the optimizer, under OnExceptionCheckpoint."""

    class Failing:
        def training_step(self, batch, batch_idx):
            result = super().training_step(batch, batch_idx)
            if self.trainer.global_step == 5 and not self.healed:
                raise RuntimeError("no more")
            return result

        healed = False

    library, host = library_of(style), host_of(style, Failing)
    lightning.seed_everything(0, verbose=False)
    model = seal(host)(**arguments) if arguments else host()
    callback = library.callbacks.OnExceptionCheckpoint(folder)
    with pytest.raises(RuntimeError, match="no more"):
        trainer_maker(library)(callbacks=[callback], enable_checkpointing=True).fit(model)
    return model, torch.load(folder / "on_exception.ckpt", weights_only=True)


@pytest.mark.parametrize("style", STYLES)
def test_a_checkpoint_after_an_exception_starts_a_new_run(style, tmp_path):
    """It holds what the host's would hold, and nothing of the failed step is left on the model."""
    _, expected = interrupted(style, tmp_path / "plain")
    zero, saved = interrupted(style, tmp_path / "zero", seal=config(weight=0.0))
    assert saved.pop("seal")["optimizer"]["state"]
    assert same(expected, saved)
    assert ("forward" in vars(zero), "manual_backward" in vars(zero)) == (False, False)
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in zero.children())
    felt, saved = interrupted(style, tmp_path / "felt", seal=config())
    assert saved["global_step"] == 5
    felt.healed = True
    trainer = trainer_maker(library_of(style))()
    trainer.fit(felt, ckpt_path=tmp_path / "felt/on_exception.ckpt", weights_only=True)
    assert torch.isfinite(trainer.callback_metrics["seal/energy"])
    assert trainer.global_step >= 8


@pytest.mark.parametrize("style", STYLES)
def test_a_backbone_is_frozen_and_set_free(style, tmp_path):
    three(style, backbone_finetuning, tmp_path, Backbone)
