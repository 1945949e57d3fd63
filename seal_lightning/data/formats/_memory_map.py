"""Arrays of an npz file as they lie on disk: nothing is in memory but what is read."""

from __future__ import annotations

import math
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats.checks import other_format
from seal_lightning.skeleton.text import regular_file

__all__ = ["BROKEN", "MappedArray", "load_npz_mapped", "npz_names", "open_npz", "read_header"]

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# By the name of an array, what reads the public files that keep pickled containers under it.
_PICKLED = {
    **dict.fromkeys(("positions_2d", "positions_3d"), "`seal_lightning.data.Human36MDataModule`"),
    "train_data": "`seal_lightning.data.H3WBDataModule`",
    "data": "`seal_lightning.data.MPIINF3DHPDataModule`, or `H3WBDataModule` for its test file,",
}
# What reading a damaged array can raise. A RuntimeError is what the archive says of a password, a NotImplementedError
# of a way of packing that it does not know, an OSError of a place before the file, a TokenError NumPy of a header.
BROKEN = (
    *(ValueError, TypeError, EOFError, OverflowError, MemoryError, RuntimeError, NotImplementedError),
    *(BadZipFile, zlib.error, struct.error, SyntaxError, TokenError, RecursionError, OSError),
)


class MappedArray(np.memmap[Any, np.dtype[Any]]):
    """A read-only `numpy.memmap` that is pickled as a place in a file.

    The array and its contiguous slices are opened again by whoever unpickles them, and share one copy in the system's
    page cache; a worker process of a loader is sent a few hundred bytes. What is computed of it is an ordinary array.
    """

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """Give back ordinary arrays, and scalars where NumPy would."""
        plain = np.asarray(array)
        return plain[()] if plain.ndim == 0 else plain

    def __getitem__(self, index: Any) -> Any:
        """Give back slices as mapped arrays, and copies as ordinary ones."""
        part = super().__getitem__(index)
        return np.asarray(part) if getattr(part, "_mmap", part) is None else part

    def __reduce__(self) -> Any:
        """Name the place in the file."""
        mapping = self._mmap  # type: ignore[attr-defined]
        order = "C" if self.flags.c_contiguous else "F" if self.flags.f_contiguous else None
        if mapping is None or order is None:
            return np.asarray(self).__reduce__()
        first = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
        within = self.__array_interface__["data"][0] - first
        offset = self.offset - self.offset % mmap.ALLOCATIONGRANULARITY + within
        path = str(self.filename)
        return _reopen, (path, self.dtype, self.shape, offset, order, self.stamp)

    def __array_finalize__(self, source: Any) -> None:
        """Pass on what is known of the file."""
        super().__array_finalize__(source)
        self.stamp: tuple[int, int] | None = getattr(source, "stamp", None)


def npz_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the arrays of an npz file, without reading them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no npz.
    """
    with open_npz(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def load_npz_mapped(
    path: str | os.PathLike[str], names: Sequence[str] | None = None, optional: Sequence[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Load arrays of an npz file, those that lie in it uncompressed as read-only views of the file.

    `numpy.savez` stores arrays as they are and `numpy.savez_compressed` does not. The former are mapped, whatever their
    size, and read from disk where they are touched; the latter are read into memory. A mapped array need not lie at a
    multiple of its item's size: NumPy copes with that, `torch.from_numpy` wants a copy. The check sums of mapped arrays
    are not compared, since that would read them all. Leave a file alone while it is in use. Nothing is unpickled.

    Args:
        path: The file.
        names: Names of the arrays that have to be there. None loads all.
        optional: Names of those that are loaded where the file has them.

    Returns:
        The arrays by name, in the order of ``names``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no npz, has no array of one of the names, or one of them is cut short or holds objects.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/one.npz", a=np.arange(4.0), b=np.ones(2))
        ...     a = load_npz_mapped(f"{folder}/one.npz", ["a"])["a"]
        >>> type(a).__name__, a[1:3].tolist()
        ('MappedArray', [1.0, 2.0])
    """
    path = Path(path)
    found = npz_names(path)
    wanted = found if names is None else list(names)
    with open_npz(path) as archive:
        if missing := [name for name in wanted if name not in found]:
            pickled = [name for name in found if name in _PICKLED and _holds_objects(archive, name)]
            hint = f"{_PICKLED[pickled[0]]} reads such a file" if pickled else "docs/data.md says which arrays go where"
            raise ValueError(f"Expected the arrays {wanted}, but {missing} are missing; got {found}; {hint}.")
        wanted += [name for name in optional if name in found and name not in wanted]
        return {name: _load(path, archive, name) for name in wanted}


def open_npz(path: str | os.PathLike[str]) -> ZipFile:
    """Open an npz file as the archive that it is.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no npz.
    """
    path = regular_file(path)
    with path.open("rb") as file:
        single = file.read(6) == np.lib.format.MAGIC_PREFIX
    if single:
        raise ValueError("Expected an npz file with named arrays, but got a single array.")
    try:
        return ZipFile(path)
    except BROKEN as error:
        raise ValueError(
            f"Expected an npz file, but it cannot be read as one ({error}).{other_format(path)}"
        ) from error


def read_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]] | None:
    """Shape, order and type of an array in an npz, with the file left behind its header; None for rare versions.

    Raises:
        ValueError: If the member of this size cannot hold an array of that shape, or it is no array.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        return None
    shape, fortran, dtype = _HEADERS[version](file)
    if any(isinstance(side, bool) or side < 0 for side in shape):
        raise ValueError(f"Expected sizes of 0 or more, but its header says {shape}")
    found, wanted = size - file.tell(), dtype.itemsize * math.prod(shape)
    if not dtype.hasobject and found < wanted:
        raise ValueError(f"Expected {wanted} bytes after its header, but got {found}")
    return shape, fortran, dtype


def _holds_objects(archive: ZipFile, name: str) -> bool:
    member = archive.getinfo(f"{name}.npy")
    try:
        with archive.open(member) as file:
            header = read_header(file, member.file_size)
    except BROKEN:
        return False
    return header is not None and header[2].hasobject


def _load(path: Path, archive: ZipFile, name: str) -> npt.NDArray[Any]:
    member = archive.getinfo(f"{name}.npy")
    try:
        with archive.open(member) as file:
            header = read_header(file, member.file_size)
            start = file.tell()
        if header is not None and header[2].hasobject:
            reader = _PICKLED.get(name, "`seal_lightning.data.read_object`")
            raise ValueError(f"it holds pickled Python objects, which are not loaded here; {reader} reads such a file")
        mapped = None if header is None else _mapped(path, member, header, start)
        if mapped is not None:
            return mapped
        with archive.open(member) as file:
            array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array
    except BROKEN as error:
        raise ValueError(f"Expected to read the array `{name}`, but it cannot be read ({error}).") from error


def _mapped(
    path: Path, member: ZipInfo, header: tuple[tuple[int, ...], bool, np.dtype[Any]], start: int
) -> MappedArray | None:
    """The array where it lies, ``start`` bytes into its member, or None where it has to be read."""
    shape, fortran, dtype = header
    if member.compress_type != ZIP_STORED or member.flag_bits & 1 or dtype.itemsize * math.prod(shape) == 0:
        return None
    with path.open("rb") as raw:
        raw.seek(member.header_offset)
        _, name_length, extra_length = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
        status = os.fstat(raw.fileno())
    start += member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    stamp = status.st_size, status.st_mtime_ns
    return _reopen(str(path), dtype, shape, start, "F" if fortran else "C", stamp)


def _reopen(
    path: str, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, order: Any, stamp: tuple[int, int]
) -> MappedArray:
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != stamp:
            raise ValueError(f"Expected {path!r} to be as it was when it was opened, but it has changed since.")
        array = MappedArray(file, dtype=dtype, mode="r", offset=offset, shape=shape, order=order)
    array.stamp = stamp
    return array
