"""Arrays of an npz file as they lie on disk: nothing is in memory but what is read."""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo, is_zipfile

import numpy as np
import numpy.typing as npt

__all__ = ["MappedArray", "load_npz_mapped", "npz_names"]

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


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
    with _opened(Path(path)) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def load_npz_mapped(path: str | os.PathLike[str], names: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Load arrays of an npz file, those that lie in it uncompressed as read-only views of the file.

    `numpy.savez` stores arrays as they are and `numpy.savez_compressed` does not: the former are mapped, whatever their
    size, and read from disk where they are touched; the latter are read into memory. A mapped array need not lie at a
    multiple of its item's size: NumPy minds that, `torch.from_numpy` wants a copy. The check sums of mapped arrays are
    not compared, since this would read them all. Leave a file alone while it is in use. Nothing is unpickled.

    Args:
        path: The file.
        names: Names of the wanted arrays. None loads all.

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
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"Expected the arrays {wanted}, but {missing} are missing; got {found}.")
    with _opened(path) as archive:
        return {name: _load(path, archive, name) for name in wanted}


def _opened(path: Path) -> ZipFile:
    if not path.is_file():
        raise FileNotFoundError(f"Expected an npz file at {str(path)!r}, but there is none.")
    with path.open("rb") as file:
        single = file.read(6) == np.lib.format.MAGIC_PREFIX
    if single:
        raise ValueError("Expected an npz file with named arrays, but got a single array.")
    if not is_zipfile(path):
        raise ValueError("Expected an npz file, but it cannot be read as one (File is not a zip file).")
    try:
        return ZipFile(path)
    except BadZipFile as error:
        raise ValueError(f"Expected an npz file, but it cannot be read as one ({error}).") from error


def _load(path: Path, archive: ZipFile, name: str) -> npt.NDArray[Any]:
    member = archive.getinfo(f"{name}.npy")
    try:
        mapped = _mapped(path, archive, member)
        if mapped is not None:
            return mapped
        with archive.open(member) as file:
            array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array
    # A RuntimeError is what the archive says of a password or of a way of packing that it does not know.
    except (ValueError, EOFError, BadZipFile, zlib.error, RuntimeError) as error:
        raise ValueError(f"Expected to read the array `{name}`, but it cannot be read ({error}).") from error


def _mapped(path: Path, archive: ZipFile, member: ZipInfo) -> MappedArray | None:
    """The array where it lies, or None where it has to be read."""
    if member.compress_type != ZIP_STORED or member.flag_bits & 1:
        return None
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            return None
        shape, fortran, dtype = _HEADERS[version](file)
        header = file.tell()
    size = dtype.itemsize * int(np.prod(shape, dtype=object))
    if dtype.hasobject or size == 0:
        return None
    if member.file_size - header < size:
        raise ValueError(f"Expected {size} bytes after its header, but got {member.file_size - header}")
    with path.open("rb") as raw:
        raw.seek(member.header_offset)
        _, name_length, extra_length = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
        status = os.fstat(raw.fileno())
    start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    stamp = status.st_size, status.st_mtime_ns
    return _reopen(str(path), dtype, shape, start + header, "F" if fortran else "C", stamp)


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
