"""Trainer flags and profilers over hosts of several styles: they work, and SEAL at weight 0 changes nothing."""

import pytest
import torch

from tests.others.others import STYLES, host_of, library_of, recorder, three, trainer_maker
from tests.promises.twins import config, seal


def steps_of(count, **options):
    """Options under which so many optimizer steps are taken."""

    def case(library, folder):
        def effect(run):
            assert run.trainer.global_step == count

        return dict(options), effect

    return case


def validates_at(steps, **options):
    """Options under which validation begins after these optimizer steps."""

    def case(library, folder):
        watch = recorder(library, lambda trainer, model: trainer.global_step, "on_validation_start")

        def effect(run):
            assert watch.seen == steps

        return {"callbacks": [watch], "num_sanity_val_steps": 0} | options, effect

    return case


def sanity_check(library, folder):
    """It sees as many batches as asked for, before any step of the loss-nets."""
    batches = recorder(library, lambda trainer, model: trainer.sanity_checking, "on_validation_batch_end")
    steps = recorder(
        library, lambda trainer, model: int(model.seal.draws) if hasattr(model, "seal") else 1, "on_train_start"
    )

    def effect(run):
        assert batches.seen == 3 * [True] + 2 * 4 * [False]
        assert steps.seen == [1]

    return {"callbacks": [batches, steps], "num_sanity_val_steps": 3}, effect


def reloaded(library, folder):
    def effect(run):
        assert run.model.drawn == 2

    return {"reload_dataloaders_every_n_epochs": 1}, effect


def anomalies(library, folder):
    """Backward passes are watched for what is not finite; the setting does not outlast the fit."""
    watch = recorder(library, lambda trainer, model: torch.is_anomaly_enabled(), "on_after_backward")

    def effect(run):
        assert set(watch.seen) == {True}
        assert not torch.is_anomaly_enabled()

    return {"callbacks": [watch], "detect_anomaly": True}, effect


def inference(mode):
    """It is a matter of `validate` and `test`; inside of `fit` Lightning leaves it alone."""

    def case(library, folder):
        def look(trainer, model):
            return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

        watch = recorder(library, look, "on_validation_batch_end")

        def effect(run):
            trainer = trainer_maker(library)(inference_mode=mode, callbacks=[watch])
            logged = trainer.validate(run.model, verbose=False)
            assert set(watch.seen) == {(mode, False)}
            if hasattr(run.model, "seal"):
                assert torch.isfinite(run.model.seal_captured.prediction).all()
            return logged

        return {}, effect

    return case


def clipped(algorithm, size):
    """The gradients that the optimizer stepped along, energy included, are clipped."""

    def case(library, folder):
        def look(trainer, model):
            return torch.cat([value.grad.flatten() for value in model.parameters()])

        watch = recorder(library, look)

        def effect(run):
            assert len(watch.seen) == 8
            for gradient in watch.seen:
                reached = gradient.norm() if algorithm == "norm" else gradient.abs().max()
                assert float(reached) == pytest.approx(size, rel=1e-4)

        clipping = {"gradient_clip_val": size, "gradient_clip_algorithm": algorithm}
        return {"callbacks": [watch], **clipping}, effect

    return case


def accumulated_by_epoch(library, folder):
    def effect(run):
        assert run.trainer.global_step == 4 + 2

    return {"callbacks": [library.callbacks.GradientAccumulationScheduler({0: 1, 1: 2})]}, effect


def profiled(name, **options):
    """Every training step is found in the profiler's report."""

    def case(library, folder):
        profiler = getattr(library.profilers, f"{name}Profiler")(folder, "report", **options)

        def effect(run):
            reports = list(folder.glob("fit-report*.txt"))
            assert any("run_training_batch" in path.read_text() for path in reports)
            if name == "Simple":
                steps = [times for action, times in profiler.recorded_durations.items() if "training_step" in action]
                assert [len(times) for times in steps] == [8]

        return {"profiler": profiler}, effect

    return case


CASES = {
    "limited": steps_of(6, limit_train_batches=3, limit_val_batches=1),
    "limited_to_a_share": steps_of(4, limit_train_batches=0.5, limit_val_batches=0.5),
    "overfit": steps_of(4, overfit_batches=2),
    "fast_dev_run": steps_of(2, fast_dev_run=2),
    "max_steps": steps_of(5, max_steps=5, max_epochs=-1),
    "max_time": steps_of(4, max_time={"seconds": 0}, min_epochs=1, max_epochs=3),
    "val_check_interval": validates_at([2, 4, 6, 8], val_check_interval=2),
    "check_val_every_n_epoch": validates_at([8], check_val_every_n_epoch=2),
    "sanity_check": sanity_check,
    "reloaded": reloaded,
    "anomalies": anomalies,
    "inference_mode": inference(True),
    "no_inference_mode": inference(False),
    "profiled_simply": profiled("Simple"),
    "profiled_by_function": profiled("Advanced"),
    "profiled_by_operator": profiled("PyTorch", row_limit=-1, export_to_chrome=False),
}
STEPS_OF_THE_TRAINER = {
    "accumulated": steps_of(4, accumulate_grad_batches=2),
    "accumulated_by_epoch": accumulated_by_epoch,
    "clipped_by_norm": clipped("norm", 0.05),
    "clipped_by_value": clipped("value", 0.003),
}


@pytest.mark.parametrize(
    ("name", "style"),
    [(name, STYLES[(index + more) % 5]) for index, name in enumerate(CASES) for more in (0, 2)],
)
def test_a_flag_does_its_work(name, style, tmp_path):
    three(style, CASES[name], tmp_path)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", STEPS_OF_THE_TRAINER)
def test_the_trainer_clips_and_accumulates_or_says_that_it_cannot(name, style, tmp_path):
    """Where the host steps by hand, Lightning refuses; under SEAL it refuses with the same words."""
    case = STEPS_OF_THE_TRAINER[name]
    if style != "manual":
        three(style, case, tmp_path)
        return
    refusals = []
    for cls, arguments in ((host_of(style), {}), (seal(host_of(style)), {"seal": config()})):
        library = library_of(style)
        options, _ = case(library, tmp_path)
        with pytest.raises((RuntimeError, library.utilities.exceptions.MisconfigurationException)) as refusal:
            trainer_maker(library)(**options).fit(cls(**arguments))
        refusals.append(str(refusal.value))
    assert refusals[0] == refusals[1]
    assert "automatic" in refusals[0] or "manual" in refusals[0]


@pytest.mark.parametrize("style", STYLES)
def test_barebones(style, tmp_path):
    """Nothing is logged, all is trained."""
    three(style, steps_of(8, barebones=True), tmp_path, logs=False)
