"""The command line of ``compare``: parses like ``fit``, then trains, scores and reports."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from seal_lightning._extras import require
from seal_lightning.cli._errors import ReadableParser
from seal_lightning.cli.compare.arguments import DESCRIPTION, add_arguments
from seal_lightning.cli.compare.manifest import check_same, digest_of_data, digest_of_file
from seal_lightning.cli.compare.methods import Method, methods_of, set_weight
from seal_lightning.cli.compare.results import Results
from seal_lightning.cli.compare.rivals import augment
from seal_lightning.cli.compare.scoring import score
from seal_lightning.cli.compare.starting import load_host_weights
from seal_lightning.cli.compare.store import Store
from seal_lightning.cli.compare.tracking import close_runs, log_scores, name_run
from seal_lightning.cli.compare.training import train
from seal_lightning.evaluation.files import free_directory, versions
from seal_lightning.evaluation.runs import Run
from seal_lightning.training.host import defines_step
from seal_lightning.training.mixin import SealMixin
from seal_lightning.training.subclass import seal_class

__all__ = ["CompareCLI"]


class CompareCLI(LightningCLI):
    """Compares a host with its SEAL subclass.

    Args:
        args: Command line arguments after ``compare``; those of the process where not given.
        command: What to type to run the same once more, for the line that says how to resume.
    """

    def __init__(self, args: Sequence[str] | None = None, command: str | None = None) -> None:
        given = sys.argv[1:] if args is None else list(args)
        self.command = command or shlex.join(["seal-lightning", "compare", *given])
        super().__init__(
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_defaults={"enable_model_summary": False},
            seed_everything_default=False,
            parser_kwargs={"prog": "seal-lightning compare", "description": DESCRIPTION},
            parser_class=ReadableParser,
            args=given,
            run=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of a comparison that a ``fit`` does not have."""
        add_arguments(parser)
        self._fit_arguments = parser.add_method_arguments(Trainer, "fit", skip=set(self.subcommands()["fit"]))

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and check what can be checked before anything is made."""
        self.config = self.asked = parser.parse_args(args)
        for option in ("logger", "enable_checkpointing"):
            if self.asked.trainer[option] is None:
                self.asked.trainer[option] = False
        if not self.asked.seeds or len(set(self.asked.seeds)) != len(self.asked.seeds):
            raise ValueError(f"Expected `seeds` to be one or more different numbers, but got {self.asked.seeds}.")
        self.methods = methods_of(self.asked.weights, self.asked.rivals)
        self.host = _import(self.asked.model.class_path)
        made = seal_class(self.host)
        self.seal_model = self.asked.seal_model or made
        if not issubclass(self.seal_model, self.host):
            raise TypeError(
                f"Expected `seal_model` to be a subclass of {self.host.__qualname__}, "
                f"but got {self.seal_model.__qualname__}."
            )
        reads = cast(Any, self.seal_model).seal_batch
        if reads is not SealMixin.seal_batch and {*self.asked.rivals} - {"augmentation"}:
            raise ValueError(
                f"Expected no losses among `rivals` with {self.seal_model.__qualname__}, whose `seal_batch` says what "
                f"its step trains: they read the step of the plain host. Got {self.asked.rivals}; `constrain` adds a "
                "loss to a SEAL model in Python."
            )
        scoring = ("validation_step",) if self.asked.split == "val" else ("test_step", "validation_step")
        if not any(defines_step(self.host, step) for step in scoring):
            steps = " or ".join(f"`{step}`" for step in scoring)
            raise TypeError(
                f"Expected {self.host.__qualname__} to define {steps}, in which its predictions are captured."
            )
        self._configs = {method.label: self._config_of(method) for method in self.methods}

    def _config_of(self, method: Method) -> Any:
        config = self.asked.clone()
        if method.is_seal:
            if method.weight is not None:
                set_weight(config.seal, method.weight)
            config.model.class_path = f"{self.seal_model.__module__}.{self.seal_model.__qualname__}"
            config["model.init_args.seal"] = config.seal
        if method.rival == "augmentation":
            augment(config.data)
        return config

    def instantiate_classes(self) -> None:
        """Do nothing here: `build` makes model, datamodule and trainer anew for each training."""

    @property
    def fit_options(self) -> dict[str, Any]:
        """Further arguments of `Trainer.fit`."""
        return {name: self.config_init[name] for name in self._fit_arguments}

    def build(self, method: Method, seed: int, *, logger: bool = True, name: str | None = None) -> None:
        """Make model, datamodule and trainer of one training, with all random numbers drawn from the seed.

        Args:
            method: The method.
            seed: The seed.
            logger: Whether the loggers that were asked for take part.
            name: What they call their run; the method and the seed where not given.
        """
        seed_everything(seed, workers=True, verbose=False)
        self.seed, self.config = seed, self._configs[method.label].clone()
        for part in (self.config.get("data.init_args"), self.config.get("model.init_args.seal")):
            if part is not None and "seed" in part:
                part.seed = seed
        if logger and self.config.trainer.logger:
            name_run(self.config.trainer, name or method.label, None if name else seed, self.group)
        else:
            self.config.trainer.logger = False
        super().instantiate_classes()
        if self.trainer.world_size > 1:
            raise ValueError(
                f"Expected a comparison to run in one process, but `trainer` asks for {self.trainer.world_size}: "
                "set `trainer.devices` to 1."
            )
        if self.asked.host_checkpoint is not None:
            load_host_weights(self.model, self.asked.host_checkpoint)

    def unit(self) -> Literal["m", "mm"]:
        """The unit of the poses.

        Raises:
            ValueError: If neither the command line nor the datamodule has one, or they differ.
        """
        asked, own = self.asked.unit, getattr(self.datamodule, "unit", None)
        unit = asked or own
        if unit not in ("m", "mm") or (own is not None and unit != own):
            raise ValueError(
                "Expected `unit` to be 'm' or 'mm', the unit of the poses, and to agree with the datamodule's `unit` "
                f"where that has one, but got {asked!r} and {own!r}."
            )
        return "m" if unit == "m" else "mm"

    def compare(self) -> Path:
        """Run the comparison, or what is left of it.

        Returns:
            The directory of the results.

        Raises:
            ModuleNotFoundError: If scipy is not installed.
        """
        require("scipy.stats", "the confidence intervals of a comparison")
        with _quiet():
            results = Results(self, self._store())
            results.check_packages()
            print(f"Results are written to {results.store.directory} after every training. To go on after a stop:")
            print(f"  {self._resume_command(results.store)}")
            try:
                runs = self._all_runs(results)
            except BaseException as error:
                close_runs(failed=True)
                if isinstance(error, KeyboardInterrupt | SystemExit):  # Lightning turns the first into the second
                    print(f"\nStopped. What is finished is in {results.store.directory}; to go on:")
                    print(f"  {self._resume_command(results.store)}")
                raise
            results.close(runs)
        return results.store.directory

    def _store(self) -> Store:
        """The directory of the results, new or resumed, with a manifest of what they depend on."""
        self.group = Path(self.asked.resume or self.asked.output).name
        self.build(self.methods[0], self.asked.seeds[0], logger=False)
        self.skeleton = self.model.seal.skeleton
        self.unit()
        self.datamodule.trainer = self.trainer
        config = json.loads(self.parser.dump(self.asked, skip_none=False, format="json"))
        checkpoint = self.asked.host_checkpoint
        manifest = {
            "config": config,
            "data": digest_of_data(self.datamodule),
            "host_checkpoint": None if checkpoint is None else digest_of_file(checkpoint),
            "versions": versions(),
        }
        if self.asked.resume is not None:
            store = Store(Path(self.asked.resume))
            begun = store.manifest
            self.group = begun.pop("group")
            check_same(begun, manifest, store.directory)
            return store
        store = Store(free_directory(self.asked.output))
        self.group = f"{store.directory.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        store.write_manifest({"group": self.group, **manifest})
        return store

    def _all_runs(self, results: Results) -> list[Run]:
        runs: list[Run] = []
        planned = [(seed, method) for seed in self.asked.seeds for method in self.methods]
        for number, (seed, method) in enumerate(planned, start=1):
            said = f"[{number}/{len(planned)}] {method.label}, seed {seed}"
            run = results.store.scored(method, seed)
            print(said if run is None else f"{said}: finished before", flush=True)
            if run is None:
                run = self._run(results.store, method, seed)
                results.check(runs, run)
                results.write([*runs, run])
                before, after = (scores["mean"]["mpjpe"] for scores in (run.scores, run.own_best))
                print(f"      MPJPE {before:.1f} mm; after {run.finish}: {after:.1f} mm; {run.wall_time:.0f} s")
            runs.append(run)
        return runs

    def _run(self, store: Store, method: Method, seed: int) -> Run:
        """Train and score one method; a training that ended before its scores were there is scored alone."""
        run = store.training(method, seed)
        loggers = []
        if run is None:
            run = train(self, store, method, seed)
            loggers = self.trainer.loggers
        first = self.methods[0]  # of every seed the first training, which measured the bones
        lengths = run.lengths or getattr(store.training(first, seed), "lengths", [])
        scored, poses = score(self, first, run, store.weights(method, seed), lengths)
        store.save_scores(method, scored, poses)
        log_scores(loggers, scored)
        close_runs()
        return scored

    def _resume_command(self, store: Store) -> str:
        return self.command if self.asked.resume else f"{self.command} --resume {shlex.quote(str(store.directory))}"


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
