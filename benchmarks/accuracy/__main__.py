"""Runs studies, or reports on their finished runs: ``python -m benchmarks.accuracy run|report STUDY ...``."""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from pathlib import Path

from benchmarks.accuracy.report import write_report
from benchmarks.accuracy.study import Study
from benchmarks.accuracy.training import train


def run(
    study: Study, folder: Path, methods: list[str] | None, seeds: list[int] | None, accelerator: str = "cpu"
) -> None:
    """Make the runs that are not finished yet; each adds a line to ``results.jsonl``."""
    for seed in seeds or study.seeds:
        for method in methods or study.methods:
            key = study.run_key(method, seed)
            if key in finished(folder):  # read anew every time: another process may share the work
                continue
            record = train(study, method, seed, folder / "predictions" / f"{key}.npz", accelerator)
            with (folder / "results.jsonl").open("a") as results:
                results.write(json.dumps({"key": key, **record}) + "\n")
            print(f"{method}, seed {seed}: {record['seconds']:.0f} s", flush=True)


def finished(folder: Path) -> dict[str, dict[str, object]]:
    """Return the lines of ``results.jsonl`` by the key of their run."""
    path = folder / "results.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {record["key"]: record for record in records}


def main(arguments: list[str] | None = None) -> None:
    """Run studies, or report on them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("action", choices=("run", "report"), help="train what is missing, or print the tables")
    parser.add_argument("studies", type=Path, nargs="+", help="YAML files of the studies")
    parser.add_argument("--data-dir", help="folder of the motion-capture files that the study names")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/accuracy"), help="folder of the runs; studies share it"
    )
    parser.add_argument("--methods", nargs="+", help="run or report only these methods")
    parser.add_argument("--seeds", type=int, nargs="+", help="run only these seeds")
    parser.add_argument(
        "--split", choices=("val", "test"), default="val", help="split to report on; read the test split only once"
    )
    parser.add_argument("--accelerator", default="cpu", help="of the trainer: `gpu` runs a study on one GPU")
    options = parser.parse_args(arguments)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
    folder = options.output
    for path in options.studies:
        study = Study.read(path, options.data_dir)
        unknown = sorted(set(options.methods or ()) - set(study.methods))
        if unknown:
            parser.error(f"expected `--methods` to be among {list(study.methods)}, but got {unknown}")
        if options.action == "run":
            folder.mkdir(parents=True, exist_ok=True)
            run(study, folder, options.methods, options.seeds, options.accelerator)
        else:
            print(write_report(study, finished(folder), folder, path.stem, options.split, options.methods))


if __name__ == "__main__":
    main()
