"""The results of a comparison: files after every training, and what is said at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seal_lightning._extras import require
from seal_lightning.cli.compare.methods import Method
from seal_lightning.cli.compare.page import comparison_page
from seal_lightning.cli.compare.pictures import Shown, draw
from seal_lightning.cli.compare.store import Store
from seal_lightning.cli.compare.text import about_rivals, conclusion, how_chosen, weight_rows
from seal_lightning.cli.compare.tracking import close_runs, log_summary
from seal_lightning.evaluation.files import versions, write_csv
from seal_lightning.evaluation.outcome import (
    Outcome,
    Rivals,
    best_method,
    finishes_of,
    outcome_of,
    rivals_of,
    tried,
)
from seal_lightning.evaluation.runs import HOST, Run, write_json

if TYPE_CHECKING:
    from seal_lightning.cli.compare.command import CompareCLI

__all__ = ["Results"]


class Results:
    """Writes and prints the results of a comparison.

    Args:
        cli: What was asked for.
        store: The directory of the results.
    """

    def __init__(self, cli: CompareCLI, store: Store) -> None:
        self.cli, self.store = cli, store
        self._picture = self._page = True

    def check_packages(self) -> None:
        """Find out before the first training what is missing for picture and page.

        Raises:
            ModuleNotFoundError: If a page was asked for and plotly is not installed.
        """
        try:
            require("matplotlib", "the picture of a comparison")
        except ModuleNotFoundError as error:
            self._picture = False
            print(f"There will be no picture. {error}")
        self._page = self.cli.asked.report is not False
        if self._page:
            try:
                require("plotly", "the report of a comparison")
            except ModuleNotFoundError as error:
                if self.cli.asked.report:
                    raise
                self._page = False
                print(f"There will be no report for the browser. {error}")

    def check(self, runs: Sequence[Run], run: Run) -> None:
        """Check that a training took as many steps as those before it.

        Raises:
            ValueError: If it did not.
        """
        if runs and run.steps != runs[0].steps:
            steps = [(run.method, run.seed, run.steps) for run in (runs[0], run)]
            raise ValueError(
                f"Expected all trainings to take the same number of steps, but got {steps}: leave early stopping and "
                "`max_time` out of a comparison."
            )

    def write(self, runs: Sequence[Run]) -> None:
        """Write results.json and results.csv of the trainings that are finished."""
        methods, seeds = self.cli.methods, self.cli.asked.seeds
        # The host comes first for a reader, whatever was trained first.
        order = {(seed, m.label): i for i, (seed, m) in enumerate((s, m) for s in seeds for m in self._in_order())}
        runs = sorted(runs, key=lambda run: order[run.seed, run.method])
        stamp = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seeds": " ".join(str(seed) for seed in dict.fromkeys(run.seed for run in runs)),
            **versions(),
        }
        outcomes = self._outcomes(runs)
        best = best_method(runs, self._seal)
        content: dict[str, Any] = {"stamp": stamp, "complete": len(runs) == len(methods) * len(seeds)}
        content["config"] = self.store.manifest["config"]
        content["own_best"] = {"tried": tried(runs)} | {run.method: finishes_of(runs, run.method) for run in runs}
        content["judged"] = best
        if best is not None and best in outcomes:
            content |= _plain(outcomes[best])
        if len(outcomes) > 1:
            content["weights"] = {label: _plain(outcome) for label, outcome in outcomes.items()}
        if best is not None and (rivals := rivals_of(runs, self._rivals, best)) is not None:
            content["rivals"] = {label: _plain(outcome) for label, outcome in rivals.outcomes.items()}
            content["strongest_rival"] = rivals.strongest
            content["against_strongest_rival"] = None if rivals.against is None else _plain(rivals.against)
        self.store.write("results.json", lambda path: write_json(path, {**content, "runs": runs}))
        self.store.write("results.csv", lambda path: write_csv(path, runs, stamp))

    def close(self, runs: Sequence[Run]) -> None:
        """Write everything, and print tables and verdict."""
        self.write(runs)
        outcomes, best = self._outcomes(runs), best_method(runs, self._seal)
        judged = outcomes[best] if best is not None else next(iter(outcomes.values()))
        head = f"host: {_path(self.cli.host)}, SEAL: {_path(self.cli.seal_model)}"
        rivals = rivals_of(runs, self._rivals, judged.method)
        print(f"\n{conclusion(head, runs, outcomes, judged, rivals, chosen=best is not None)}")
        files = self._pictures(runs, outcomes, judged, rivals, chosen=best is not None)
        self._log(judged, files)
        print(f"\nWritten to {self.store.directory}")
        if (page := self.store.directory / "report.html") in files:
            print(f"The report, to open in a browser: {page}")

    @property
    def _seal(self) -> list[str]:
        return [method.label for method in self.cli.methods if method.is_seal]

    @property
    def _rivals(self) -> list[str]:
        return [method.label for method in self.cli.methods if method.rival is not None]

    def _in_order(self) -> list[Method]:
        return sorted(self.cli.methods, key=lambda method: method.is_seal)

    def _outcomes(self, runs: Sequence[Run]) -> dict[str, Outcome]:
        found = {m.label: outcome_of(runs, m.label) for m in self.cli.methods if m.is_seal}
        return {label: outcome for label, outcome in found.items() if outcome is not None}

    def _pictures(
        self,
        runs: Sequence[Run],
        outcomes: Mapping[str, Outcome],
        judged: Outcome,
        rivals: Rivals | None,
        *,
        chosen: bool,
    ) -> list[Path]:
        self.cli.build(self.cli.methods[0], judged.seeds[0], logger=False)
        shown, files = Shown.of(self.store, judged, self.cli.model.seal.skeleton), []
        if self._picture:
            files.append(self.store.write("results.png", lambda path: draw(path, shown, runs, judged)))
        if self._page:
            tables: dict[str, tuple[Sequence[Sequence[str]], str]] = {}
            if len(outcomes) > 1:
                tables["Weights"] = weight_rows(outcomes), how_chosen(judged, chosen=chosen)
            if rivals is not None:
                rows = weight_rows({judged.method: judged, **rivals.outcomes})
                tables["Rivals"] = rows, about_rivals(rivals, judged.method)
            config = self.store.manifest["config"]
            content = comparison_page(runs, judged, shown, config, tables=tables)
            files.append(self.store.write("report.html", lambda path: path.write_text(content, encoding="utf-8")))
        return files

    def _log(self, judged: Outcome, files: Sequence[Path]) -> None:
        if not self.cli.asked.trainer.logger:
            return
        host = next(method for method in self.cli.methods if method.label == HOST)
        self.cli.build(host, judged.seeds[0], name="summary")
        verdict = {f"verdict/{name}": value for name, value in asdict(judged.own_best).items() if name != "groups"}
        log_summary(self.cli.trainer, judged.summary_own_best["mean"], verdict, files)
        close_runs()


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "datasets": outcome.datasets,
        "verdict": {"own_best": outcome.own_best, "as_predicted": outcome.as_predicted},
        "summary": outcome.summary,
        "summary_own_best": outcome.summary_own_best,
    }


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
