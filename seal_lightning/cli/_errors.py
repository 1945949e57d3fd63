"""Errors of the command line in a line or two: what was expected, what came, and what may have been meant."""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any, NoReturn

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

import seal_lightning
from seal_lightning._values import did_you_mean
from seal_lightning.cli._old_configs import as_of_now
from seal_lightning.training.config import SealConfig
from seal_lightning.training.mixin import SealMixin

__all__ = ["ReadableParser", "explained", "readable_errors"]

# Where classes may be named without their import path. Importing them is what makes their short names known.
_ROOMS = ("callbacks", "data", "error_estimate", "loss_nets", "negatives", "objectives")
_LIGHTNING = ("lightning.pytorch.callbacks", "lightning.pytorch.loggers")
_LONG = 300
_PLAIN_HOST = (
    "{name} is a plain model, which has no `seal`. To compare it with and without a learned loss: `seal-lightning "
    "compare --config CONFIG --seal.weight.ratio 0.1`. To train it with one, write `class Seal{name}(SealMixin, "
    "{name}): pass` (from seal_lightning import SealMixin) and name that class in --model."
)


class ReadableParser(LightningArgumentParser):
    """Lightning's parser, whose errors are a sentence instead of all options and a tree of types."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for room in _ROOMS:
            module = import_module(f"seal_lightning.{room}")
            for name in module.__all__:  # which are imported when they are first asked for
                getattr(module, name)

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Any:
        """Parse a config, from a file or not, which an earlier version may have saved."""
        try:
            content = as_of_now(content)
        except ValueError as error:
            self.error(str(error), error)
        return super().parse_string(content, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error in a sentence, and exit."""
        if not self.exit_on_error or _debugging():
            super().error(message, ex)
        parser: Any = getattr(ex, "subcommand_parser", None) or self
        prog = parser.prog.replace(" [options]", "")
        options = [option for action in _actions(parser) for option in action.option_strings]
        self.exit(2, f"{prog}: {explained(message, options)}\nAll options: {prog} --help\n")


@contextmanager
def readable_errors(prog: str) -> Iterator[None]:
    """End the process with a sentence where an error is one; what is not, keeps its traceback.

    A sentence is an error that this package, or Lightning, raises of what it was given. With ``JSONARGPARSE_DEBUG`` in
    the environment, all errors keep their traceback.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError, MisconfigurationException) as error:
        if _debugging() or not _is_sentence(error):
            raise
        print(f"{prog}: {explained(str(error))}", file=sys.stderr)
        raise SystemExit(1) from error


def explained(message: str, options: Iterable[str] = ()) -> str:
    """What a parser's message says, in a sentence.

    Args:
        message: The message, of any number of lines.
        options: The options that there are.
    """
    own = re.findall(r"Expected [`a-z][^\n]*, but got [^\n]*", message)
    if own and "Subtypes:" in message:
        return str(own[-1])
    if message.startswith("Unexpected config"):
        return f"Expected a configuration of options in YAML or JSON, but got: {message[19:].splitlines()[0][:80]}"
    if "Subtypes:" not in message and "Parser key" not in message and not message.startswith(("unrec", "the foll")):
        return " ".join(message.split())
    where = "--" + ".".join(re.findall(r'Parser key "([^"]+)"', message))
    for pattern, say in _RULES:
        if found := re.search(pattern, message):
            said = say(found, where, _classes(found), list(options))
            return said if len(said) < 2 * _LONG else f"{said[: 2 * _LONG]}..."
    return message[:_LONG]


def _argument(found: re.Match[str], where: str, made: list[str], options: list[str]) -> str:
    name, cls = found[1], _class(made)
    if cls is None:
        return f"{where}: There is no argument {name!r}."
    if name == "seal" and not issubclass(cls, SealMixin):
        return _PLAIN_HOST.format(name=cls.__name__)
    return f"{where}: {cls.__name__} has no argument {name!r}.{did_you_mean(name, inspect.signature(cls).parameters)}"


def _option(found: re.Match[str], where: str, made: list[str], options: list[str]) -> str:
    name = found[1]
    if name.startswith("--seal.") or name == "--seal":
        cls, compares = _class(made), "--seal" in options
        if cls is not None and compares:
            return (
                f"In a comparison the settings of SEAL are options of their own: {name} instead of --model.{name[2:]}."
            )
        if cls is not None and not issubclass(cls, SealMixin):
            return _PLAIN_HOST.format(name=cls.__name__)
        if not compares:
            return f"There is no option {name}. For a SEAL model it is --model.{name[2:]}; " + (
                "a plain model has none: `seal-lightning compare` trains it with and without a learned loss."
            )
    if where != "--":
        return f"{where}: There is no argument {name.lstrip('-')!r}."
    fields = inspect.signature(SealConfig).parameters if "--seal" in options else ()
    return f"There is no option {name}.{did_you_mean(name, [*options, *(f'--seal.{field}' for field in fields)])}"


def _missing(found: re.Match[str], where: str, made: list[str], options: list[str]) -> str:
    if found[1].endswith("model") and where == "--":
        return (
            "Expected `--model`, the class of the model, but got none. Name it, or a file that does: --config CONFIG. "
            "A checkpoint (`--ckpt_path`) holds weights and settings, not the class that they are for."
        )
    return f"{where}: Expected these arguments, too: {found[1]}." if where != "--" else f"Expected also: {found[1]}."


def _nobody(found: re.Match[str], where: str, made: list[str], options: list[str]) -> str:
    name = found[1].strip()
    rooms = [import_module(f"seal_lightning.{room}") for room in _ROOMS] + [import_module(path) for path in _LIGHTNING]
    known = {one for room in rooms for one in room.__all__}
    if name in known:
        return f"{where}: {name} is not of the kind that is expected here."
    hint = did_you_mean(name, known) or f" Give its import path, as in my_package.my_module.{name}."
    return f"{where}: No class is known by the name {name!r}.{hint}"


def _attribute(found: re.Match[str], where: str, made: list[str], options: list[str]) -> str:
    module, name = found[1], found[2]
    classes = [one for one, value in vars(sys.modules[module]).items() if isinstance(value, type)]
    return f"{where}: The module {module} has no {name!r}.{did_you_mean(name, classes)}"


def _module(found: re.Match[str], where: str, made: list[str], options: list[str]) -> str:
    name = found[1]
    given = re.findall(r"Problem with given class_path '([^']+)'", found.string[: found.start()])
    # The class before it may be the one whose argument names the module, rather than one that imports it.
    asked = [*given[-1:], *re.findall(r"Given value: ([\w.]+)", found.string[found.end() :])]
    if given and all(path.partition(".")[0] != name.partition(".")[0] for path in asked):
        return f"{where}: {given[-1].rpartition('.')[0]} imports {name!r}, which is not installed."
    here = [path.stem for path in Path.cwd().iterdir() if path.suffix == ".py" or path.is_dir()]
    hint = did_you_mean(name, here) or " Classes are found in the current directory and in installed packages."
    return f"{where}: There is no module {name!r}.{hint}"


def _kind(found: re.Match[str], where: str, made: list[str], options: list[str]) -> str:
    given = re.search(r"Given value: ([^\n]+)", found.string)
    return f"{where}: Expected a subclass of {found[1]}, but got {given[1][:80] if given else 'another class'}."


def _made(found: re.Match[str], where: str, made: list[str], options: list[str]) -> str:
    return f"{where}: Expected a {found[2]}, or a function that makes one, but got {found[1]!r}."


def _type(found: re.Match[str], where: str, made: list[str], options: list[str]) -> str:
    kinds = re.findall(r"(?:- |  )Expected a ((?:<class '|typing\.)[^\n]+?)(?:\. Got value|\n)", f"{found.string}\n")
    kinds = [re.sub(r"<class '([^']+)'>", r"\1", kind).removeprefix("typing.") for kind in kinds]
    kinds = list(dict.fromkeys(kind for kind in kinds if kind != "NoneType"))
    given = re.search(r"Given value: ([^\n]+)", found.string) or re.search(r"Got value: ([^\n]+)", found.string)
    got = re.search(r"Got value: ([^\n]+)", found.string) or given
    return f"{where}: Expected {' or '.join(kinds)}, but got {got[1][:80] if got else 'something else'!r}."


_Rule = Callable[[re.Match[str], str, list[str], list[str]], str]
# The first that fits is what is said.
_RULES: tuple[tuple[str, _Rule], ...] = (
    (r"Option '([^']+)' is not accepted", _argument),
    (r"unrecognized arguments: (--[^\s=]+)", _option),
    (r"the following arguments are required: ([^\n]+)", _missing),
    (r"Import path does not correspond to a subclass of (\w+)", _kind),
    (r"callable class: Expected '([^']+)' to be a (?:function that returns|subclass of) <class '(\w+)'>", _made),
    (r"module '([\w.]+)' has no attribute '(\w+)'", _attribute),
    (r"No module named '([\w.]+)'", _module),
    (r"Expected a (?:<class '(?!NoneType|list)|typing\.)", _type),
    (r"Expected a dot import path string: ([^\n]+)", _nobody),
    (r"\"config\": (File does not exist: [^\n]+)", lambda found, *_: f"--config: {found[1]}."),
    (r"Problem[^\n]+", lambda found, where, *_: f"{where}: {found[0][:_LONG]}"),
)


def _classes(found: re.Match[str]) -> list[str]:
    """The class that a message speaks of where it says what it found: the last before it, or one in the same line."""
    text, end = found.string, found.string.find("\n", found.end())
    line = text[found.end() : end if end >= 0 else len(text)]
    before = re.findall(r"Problem with given class_path '([^']+)'", text[: found.start()])
    return before + re.findall(r"class_path'?[=:] ?'([^']+)'", line)[:1]


def _class(paths: list[str]) -> type | None:
    try:
        made = locate(paths[-1]) if paths else None
    except ErrorDuringImport:
        return None
    return made if isinstance(made, type) else None


def _actions(parser: Any) -> list[Any]:
    return list(parser._actions)  # argparse has no public way to list the options


def _debugging() -> bool:
    return os.environ.get("JSONARGPARSE_DEBUG", "").lower() not in ("", "0", "false")


def _is_sentence(error: BaseException) -> bool:
    """Whether an error, or what led to it, was raised on purpose by this package, or by Lightning of its arguments."""
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        folders = Path(frames[-1].filename).parents if frames else []
        if Path(seal_lightning.__file__).parent in folders and "Expected " in str(cause):
            return True
        if isinstance(cause, FileNotFoundError) and Path(lightning.__file__).parent in folders:
            return True
        cause = cause.__cause__ or cause.__context__
    return isinstance(error, MisconfigurationException)
