"""Reads npz members that hold pickled containers of arrays, without running the code that a pickle can contain."""

from __future__ import annotations

import math
import os
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats._memory_map import BROKEN, npz_names, open_npz, read_header
from seal_lightning.data.formats.checks import located
from seal_lightning.skeleton.text import as_path

__all__ = ["array_names", "read_object"]

_PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|[SU]\d{1,9}|O8?)")


def array_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the arrays of an npz.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no npz.
    """
    path = as_path(path)
    with located(path.name):
        return npz_names(path)


def read_object(path: str | os.PathLike[str], name: str) -> Any:
    """Read one array of an npz; of a pickled container (an object array without dimensions) the container.

    A pickle is a program, and one from a stranger can do anything. Here it can make numbers, strings, lists, tuples,
    dicts and arrays of these, and nothing else. Every class or function that it names is refused, except the four that
    NumPy 1 and 2 pickle arrays with; even those are replaced by functions of this module that check their arguments.
    Strings that Python 2 wrote are read as Latin-1.

    Args:
        path: An npz file.
        name: Name of the array in it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no npz, has no such array, or the array holds anything else than is said above.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp(), "poses.npz")
        >>> np.savez(path, positions_3d=np.array({"S1": {"Walking": np.zeros((4, 32, 3))}}, dtype=object))
        >>> read_object(path, "positions_3d")["S1"]["Walking"].shape
        (4, 32, 3)
    """
    path = as_path(path)
    if name not in (names := array_names(path)):
        raise ValueError(f"{path.name}: Expected an array {name!r}, but got {names}.")
    try:
        with open_npz(path) as archive, archive.open(f"{name}.npy") as file:
            header = read_header(file, archive.getinfo(f"{name}.npy").file_size)
            if header is None:
                raise ValueError("Expected a npy file of version 1 or 2")
            if not header[2].hasobject:
                file.seek(0)
                return np.lib.format.read_array(file, allow_pickle=False)
            array = _Unpickler(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        told = str(error) if str(error).startswith("Expected") else f"Expected a readable array, but {error}."
        raise ValueError(f"{path.name}, array {name!r}: {told}") from error
    except (*BROKEN, AttributeError, IndexError, KeyError) as error:
        raise ValueError(f"{path.name}, array {name!r}: Expected a readable array, but {error}.") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path.name}, array {name!r}: Expected an array, but got a {type(array).__name__}.")
    return array.item() if array.shape == () else array.view(np.ndarray)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Look a global up, among those that arrays are made with."""
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(
                f"Expected arrays, numbers, strings, lists, tuples and dicts alone, but the pickle asks for "
                f"{module}.{name}, which could run code. It is refused."
            )
        return _ADMITTED[module, name]


class _Checked(np.ndarray[Any, Any]):
    """An array that a pickle can fill only with as many bytes as its shape and type take."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, values = state
        if not isinstance(dtype, _Type) or any(not isinstance(side, int) or side < 0 for side in shape):
            raise ValueError(f"the shape {shape} or the type of an array is not one")
        if dtype.plain.hasobject:
            found = len(values) if isinstance(values, list) else -1
            wanted = math.prod(shape)
        else:
            values = values.encode("latin1") if isinstance(values, str) else bytes(values)
            found, wanted = len(values), math.prod(shape) * dtype.plain.itemsize
        if found != wanted:
            raise ValueError(f"an array of shape {shape} and type {dtype.plain} has {found} values or bytes")
        super().__setstate__((1, tuple(shape), dtype.plain, bool(fortran), values))  # type: ignore[arg-type]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle as a plain array."""
        return self.view(np.ndarray).__reduce_ex__(protocol)


class _Type:
    """The dtype of an array of numbers, strings or objects; records, dates and others are refused."""

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or not _PLAIN.fullmatch(code):
            raise ValueError(f"the type {code!r} of an array is none of numbers, strings or objects")
        self.plain = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        _, order, *rest = state
        if order not in ("<", ">", "|", "=") or any(part is not None for part in rest[:3]):
            raise ValueError("the type of an array has parts")
        self.plain = self.plain.newbyteorder(order) if order != "|" else self.plain


class _StandIn:
    """Stands for a function or class of NumPy: it can be called, but a pickle cannot set attributes on it."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("the pickle changes an attribute of NumPy")

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


def _not_called(*_: Any) -> Any:
    raise TypeError("the pickle makes an array in another way than NumPy does")


def _reconstruct(kind: Any, *_: Any) -> npt.NDArray[Any]:
    if kind is not _NDARRAY:
        raise TypeError("the pickle makes something else than an array")
    return _Checked((0,))


def _scalar(dtype: Any, value: Any) -> Any:
    value = value.encode("latin1") if isinstance(value, str) else value
    if not isinstance(dtype, _Type) or dtype.plain.hasobject or len(value) != dtype.plain.itemsize:
        raise ValueError("a number does not have the bytes of its type")
    return np.frombuffer(value, dtype=dtype.plain)[0]


_NDARRAY = _StandIn(_not_called)
_ADMITTED = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _StandIn(lambda code, *_: _Type(code)),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _StandIn(_reconstruct) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _StandIn(_scalar) for core in ("core", "_core")},
}
