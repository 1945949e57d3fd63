"""``seal-lightning compare``: a host and its SEAL subclass, trained and scored on equal terms."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer, seed_everything
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from seal_lightning._extras import require
from seal_lightning.cli._watch import Watch
from seal_lightning.evaluation import report
from seal_lightning.evaluation.rescaling import TrainingLengths, describe_rescaling
from seal_lightning.evaluation.scoring import PoseScorer, by_dataset, macro_average
from seal_lightning.evaluation.verdict import describe_verdicts, judge
from seal_lightning.plotting import plot_comparison
from seal_lightning.training.config import SealConfig
from seal_lightning.training.host import defines_step
from seal_lightning.training.mixin import SealMixin
from seal_lightning.training.subclass import seal_class

__all__ = ["CompareCLI"]

Method = Literal["host", "SEAL"]
METHODS: tuple[Method, Method] = ("host", "SEAL")

_DESCRIPTION = """Train a model and its SEAL subclass on the same data, seeds and steps, score both alike, and report.

Takes the config of a `fit` (trainer, model, data; logging and checkpoints stay off unless asked for). Both methods of a
seed start from the same weights and see the same batches; the final weights are scored."""

_HELP = {
    "seal_model": "SEAL subclass of the model, for hosts that need a `seal_batch` of their own; made if not given.",
    "seeds": "Seeds: one pair of trainings for each, which is also the `seed` of SEAL and of a datamodule with one.",
    "unit": "Unit of the poses; the datamodule's `unit` if not given.",
    "output": "Directory for results.json, results.csv and results.png; if it exists, a number is added to its name.",
}


class CompareCLI(LightningCLI):
    """The command line of ``compare``: parses like ``fit``, then trains, scores and reports.

    Args:
        args: Command line arguments after ``compare``; those of the process where not given.
    """

    def __init__(self, args: Sequence[str] | None = None) -> None:
        super().__init__(
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_defaults={"enable_model_summary": False},
            seed_everything_default=False,
            parser_kwargs={"prog": "seal-lightning compare", "description": _DESCRIPTION},
            args=None if args is None else list(args),
            run=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of a comparison that a ``fit`` does not have."""
        add = parser.add_argument
        add("--seal", type=SealConfig, default=SealConfig(), help="The SEAL training.")
        add("--seal_model", type=type[SealMixin] | None, help=_HELP["seal_model"])
        add("--seeds", type=int, nargs="+", default=[0, 1, 2], help=_HELP["seeds"])
        add("--split", type=Literal["test", "val"], default="test", help="The data to score on.")
        add("--unit", type=Literal["m", "mm"] | None, help=_HELP["unit"])
        add("--output", type=str, default="runs/compare", help=_HELP["output"])
        self._fit_arguments = parser.add_method_arguments(Trainer, "fit", skip=set(self.subcommands()["fit"]))

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and derive the configurations of the two methods."""
        self.config = parser.parse_args(args)
        for option in ("logger", "enable_checkpointing"):
            if self.config.trainer[option] is None:
                self.config.trainer[option] = False
        if not self.config.seeds or len(set(self.config.seeds)) != len(self.config.seeds):
            raise ValueError(f"Expected `seeds` to be one or more different numbers, but got {self.config.seeds}.")
        self.host = _import(self.config.model.class_path)
        made = seal_class(self.host)
        self.seal_model = self.config.seal_model or made
        if not issubclass(self.seal_model, self.host):
            raise TypeError(
                f"Expected `seal_model` to be a subclass of {self.host.__qualname__}, "
                f"but got {self.seal_model.__qualname__}."
            )
        if not any(defines_step(self.host, step) for step in self._scoring_steps()):
            steps = " or ".join(f"`{step}`" for step in self._scoring_steps())
            raise TypeError(
                f"Expected {self.host.__qualname__} to define {steps}, in which its predictions are captured."
            )
        seal = self.config.clone()
        seal.model.class_path = f"{self.seal_model.__module__}.{self.seal_model.__qualname__}"
        seal["model.init_args.seal"] = seal.seal
        self._configs = {"host": self.config, "SEAL": seal}

    def instantiate_classes(self) -> None:
        """Do nothing here: `build` makes model, datamodule and trainer anew for each training."""

    def build(self, method: Method, seed: int) -> None:
        """Make model, datamodule and trainer of one training, with all random numbers drawn from the seed."""
        seed_everything(seed, workers=True, verbose=False)
        self.config = self._configs[method].clone()
        for name in ("data.init_args", "model.init_args.seal"):
            part = self.config.get(name)
            if part is not None and "seed" in part:
                part.seed = seed
        super().instantiate_classes()
        if self.trainer.world_size > 1:
            raise ValueError(
                f"Expected a comparison to run in one process, but `trainer` asks for {self.trainer.world_size}: "
                "set `trainer.devices` to 1."
            )

    def compare(self) -> Path:
        """Run the comparison.

        Returns:
            The directory of the results.

        Raises:
            ModuleNotFoundError: If scipy is not installed.
        """
        require("scipy.stats", "the confidence intervals of a comparison")
        try:
            require("matplotlib", "the picture of a comparison")
        except ModuleNotFoundError as error:
            print(f"There will be no picture. {error}")
        seeds = list(self.config.seeds)
        runs: list[report.Run] = []
        scorers: list[PoseScorer] = []
        with _quiet():
            self.build("host", seeds[0])
            unit, output = self._unit(), report.free_directory(self.config.output)
            for number, seed in enumerate(seeds):
                watches, lengths, trained = {method: Watch() for method in METHODS}, TrainingLengths(), []
                for place, method in enumerate(METHODS, start=1 + number * len(METHODS)):
                    print(f"[{place}/{len(seeds) * len(METHODS)}] {method}, seed {seed}", flush=True)
                    self.train(method, seed, watches[method], *([lengths] if method == "SEAL" else []))
                    trained.append((method, self.model.state_dict(), self.datamodule))
                watches["SEAL"].seconds -= lengths.seconds
                for method, weights, datamodule in trained:  # only now: the bone lengths are measured while SEAL trains
                    groups = getattr(datamodule, "group_names", None)
                    scorers.append(PoseScorer(unit, groups, lengths=lengths.lengths))
                    self.score(scorers[-1], seed, weights, datamodule)
                    runs.append(_run(method, seed, watches[method], scorers[-1]))
        _check_steps(runs)
        self._report(output, runs, scorers, lengths)
        return output

    def train(self, method: Method, seed: int, *callbacks: Callback) -> None:
        """Train one method from one seed, and leave its model and data in `model` and `datamodule`."""
        self.build(method, seed)
        trainer = cast(Any, self.trainer)
        trainer.callbacks.extend(callbacks)
        options = {name: self.config_init[name] for name in self._fit_arguments}
        seed_everything(seed, workers=True, verbose=False)
        trainer.fit(self.model, datamodule=self.datamodule, **options)

    def score(self, scorer: PoseScorer, seed: int, weights: Mapping[str, Any], datamodule: Any) -> None:
        """Score trained weights of either method on the data that they were trained with.

        Both are loaded into a SEAL model, since that captures the predictions whatever the host logs.
        """
        self.build("SEAL", seed)
        self.model.load_state_dict(weights)
        trainer = self.instantiate_trainer(callbacks=[scorer], logger=False, enable_checkpointing=False)
        seed_everything(seed, workers=True, verbose=False)
        if self.config.split == "val":
            trainer.validate(self.model, datamodule=datamodule, verbose=False)
        elif defines_step(self.host, "test_step"):
            trainer.test(self.model, datamodule=datamodule, verbose=False)
        else:
            datamodule.prepare_data()
            datamodule.setup("test")
            datamodule.val_dataloader = datamodule.test_dataloader  # the host can only validate
            trainer.validate(self.model, datamodule=datamodule, verbose=False)

    def _scoring_steps(self) -> tuple[str, ...]:
        return ("validation_step",) if self.config.split == "val" else ("test_step", "validation_step")

    def _unit(self) -> Literal["m", "mm"]:
        asked, own = self.config.unit, getattr(self.datamodule, "unit", None)
        unit = asked or own
        if unit not in ("m", "mm") or (own is not None and unit != own):
            raise ValueError(
                "Expected `unit` to be 'm' or 'mm', the unit of the poses, and to agree with the datamodule's `unit` "
                f"where that has one, but got {asked!r} and {own!r}."
            )
        return "m" if unit == "m" else "mm"

    def _report(
        self, output: Path, runs: list[report.Run], scorers: Sequence[PoseScorer], lengths: TrainingLengths
    ) -> None:
        groups, (host, seal) = list(scorers[0].scores()), report.pair(runs)
        predicted = [run.scores for run in host], [run.scores for run in seal]
        rescaled = [run.rescaled for run in host], [run.rescaled for run in seal]
        verdicts = {"as_predicted": judge(*predicted, groups), "rescaled": judge(*rescaled, groups)}
        summary, summary_rescaled = report.summarise(runs), report.compare_scores(*rescaled)
        datasets = [name for name in by_dataset(groups) if name]
        rescaling = describe_rescaling(lengths.lengths)
        seeds = " ".join(str(seed) for seed in dict.fromkeys(run.seed for run in runs))
        stamp = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "seeds": seeds, **report.versions()}
        config = json.loads(self.parser.dump(self._configs["host"], skip_none=False, format="json"))
        more = {"verdict": verdicts, "rescaling": rescaling, "summary_rescaled": summary_rescaled}
        report.write_json(output / "results.json", runs, summary, stamp=stamp, datasets=datasets, config=config, **more)
        report.write_csv(output / "results.csv", runs, stamp)
        print(f"\nhost: {_path(self.host)}, SEAL: {_path(self.seal_model)}; {runs[0].steps} steps each; seeds {seeds}")
        print("Mean ± standard deviation over seeds.\n" if " " in seeds else "One seed: no spread, no interval.\n")
        print(report.table(summary, datasets))
        print(f"\n{rescaling}\n\n{report.rescaled_table(summary_rescaled)}")
        print(f"\n{describe_verdicts(*verdicts.values())}")
        truth, prediction = map(torch.stack, zip(*scorers[0].poses, strict=True))
        poses = {"truth": truth, "host": prediction, "SEAL": torch.stack([pose for _, pose in scorers[1].poses])}
        try:
            figure = plot_comparison(poses, report.curves(runs), self.model.seal.skeleton)
            figure.savefig(output / "results.png", dpi=120)
        except ModuleNotFoundError as error:
            print(f"\nNo picture. {error}")
        print(f"\nWritten to {output}")


def _run(method: Method, seed: int, watch: Watch, scorer: PoseScorer) -> report.Run:
    scores, rescaled = (macro_average(groups)[0] for groups in (scorer.scores(), scorer.rescaled_scores()))
    return report.Run(method, seed, watch.steps, watch.seconds, scores, watch.curves, rescaled)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says about hardware and add-ons, which would be repeated before every training."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _import(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _check_steps(runs: Sequence[report.Run]) -> None:
    if len({run.steps for run in runs}) > 1:
        steps = [(run.method, run.seed, run.steps) for run in runs]
        raise ValueError(
            f"Expected all trainings to take the same number of steps, but got {steps}: leave early stopping and "
            "`max_time` out of a comparison."
        )
