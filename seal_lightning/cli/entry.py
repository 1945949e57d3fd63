"""Where ``seal-lightning`` starts: picks the command to run, and imports only what that command needs."""

from __future__ import annotations

import os
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from seal_lightning._version import __version__

__all__ = ["main"]

_WITH_LIGHTNING = {
    "fit": "Train any LightningModule on any LightningDataModule, both given by class path.",
    "validate": "Run the validation of such a model.",
    "test": "Run the test of such a model.",
    "fit-critic": "Fit an estimate of the errors of a trained model's poses; the model stays as it is.",
    "predict": "Write what such a model predicts.",
    "compare": "Train a model and its SEAL subclass on equal terms, score both, and say whether SEAL helps.",
    "demo": "Run `compare` for a small model on synthetic motion, in about two minutes.",
}
_WITHOUT_LIGHTNING = {
    "convert": "Convert motion capture (BVH, ASF/AMC, npz) to one file that models can train on.",
    "score": "Say how plausible finished poses are, of any lifter: no training, no model.",
    "examples": "Copy the example models and configurations into a folder of your own.",
}


def main(args: Sequence[str] | None = None) -> None:
    """Run ``seal-lightning``; classes in the current directory can be named, as with ``python -m``.

    Args:
        args: Command line arguments; those of the process where not given. Errors of these are a sentence instead of a
            traceback where they can be.

    Raises:
        SystemExit: If the arguments name no command, or the package `lightning` is not PyTorch Lightning.
    """
    arguments = sys.argv[1:] if args is None else list(args)
    command, more = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command in _WITHOUT_LIGHTNING:
        import_module(f"seal_lightning.cli.{command}").main(more)
    elif command in _WITH_LIGHTNING or command.startswith(("-c", "--config")):  # a config may come before its command
        _import_lightning()
        _search_current_directory()
        if args is not None:
            _run_with_lightning(command, arguments, more)
            return
        # Lightning's own, with the newest torch: nobody who types a command can do anything about it.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        errors = import_module("seal_lightning.cli._errors")
        with errors.readable_errors(f"seal-lightning {command}"):
            _run_with_lightning(command, arguments, more)
    else:
        commands = _WITH_LIGHTNING | _WITHOUT_LIGHTNING
        if command[:1] not in ("", "-") and (hint := _did_you_mean(command, commands)):
            _parser().exit(2, f"seal-lightning: There is no command {command!r}.{hint}\n")
        _parser().parse_args(arguments)  # prints the help, the version or an error, and exits


def _run_with_lightning(command: str, arguments: Sequence[str], more: Sequence[str]) -> None:
    if command == "compare":
        import_module("seal_lightning.cli.compare").CompareCLI(more).compare()
    elif command == "fit-critic":
        import_module("seal_lightning.cli.fit_critic").main(more)
    elif command == "demo":
        import_module("seal_lightning.cli.examples").demo(more)
    else:
        import_module("seal_lightning.cli.command").SealCLI(arguments)


def _parser() -> ArgumentParser:
    """A parser of nothing but the command, for the help, the version and the error where there is no such command."""
    parser = ArgumentParser(
        prog="seal-lightning",
        description="SEAL training for PyTorch Lightning pose models: a learned loss for structural plausibility.",
        epilog="For the options of a command: seal-lightning compare --help, seal-lightning convert --help, and so on.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in (_WITH_LIGHTNING | _WITHOUT_LIGHTNING).items():
        commands.add_parser(name, help=summary)
    return parser


def _did_you_mean(command: str, known: Iterable[str]) -> str:
    hint: str = import_module("seal_lightning._values").did_you_mean(command, known)  # which takes a second to import
    return hint


def _import_lightning() -> None:
    """Import Lightning before the current directory is searched, which may hold a folder of the same name."""
    spec = find_spec("lightning")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    if not any(Path(folder, "pytorch").is_dir() for folder in folders):
        found = ", ".join(folders) or (spec.origin if spec else None)
        raise SystemExit(
            f"seal-lightning: Expected the package `lightning` to be PyTorch Lightning, but got {found}. "
            "Rename what hides it or leave it off the import path (PYTHONPATH); `pip install lightning` installs it."
        )
    import_module("lightning")


def _search_current_directory() -> None:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
