"""An array in a file, read by ranges of rows, and how every fault of a file is told."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import message

Array = NDArray[Any]
BFLOAT16 = "bfloat16"


class FileError(ValueError):
    """A file, or an array in it, that cannot be used: path, what was expected, what came, the remedy, in one line."""

    def __init__(self, where: str | Path, expected: str, got: str, remedy: str) -> None:
        super().__init__(" ".join(message(str(where), expected, got, remedy).split()))


class StoredArray(ABC):
    """An array in a file. Shape and dtype are known before anything is read; `array[a:b]` reads rows as NumPy's.

    Attributes:
        where: file and name, for messages.
        shape: of the whole array.
        dtype: of the rows as they come, in native byte order.
        stored_dtype: the name of the dtype in the file; "bfloat16" comes as float32, which holds it exactly.
        padded: whether its rows are lists of different lengths, filled up with -1.
    """

    def __init__(
        self, where: str, shape: tuple[int, ...], dtype: np.dtype[Any], stored_dtype: str = "", padded: bool = False
    ) -> None:
        if not shape:
            raise FileError(where, "an array with rows", "a single number", "Save one row for each example.")
        self.where = where
        self.shape = shape
        self.dtype = dtype.newbyteorder("=")
        self.stored_dtype = stored_dtype or dtype.name
        self.padded = padded

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory."""
        return prod(self.shape[1:]) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(message("rows", "a range without steps", str(rows), "Read it and take steps there."))
        if stop <= start or 0 in self.shape:
            return np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        return self._read(start, stop)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype=dtype)

    def __repr__(self) -> str:
        return f"<{self.where}: {self.stored_dtype}{list(self.shape)}>"

    @abstractmethod
    def _read(self, start: int, stop: int) -> Array:
        """The rows from `start` to before `stop`, of which there is at least one, not empty."""


class MappedArray(StoredArray):
    """An array that lies in a file as it lies in memory: each range of rows is mapped, and gone with its array.

    So memory holds no more than the rows in use, and a file that has shrunk meanwhile is an error, not a crash.
    """

    def __init__(
        self,
        where: str,
        path: Path,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        by_columns: bool = False,
        bfloat16: bool = False,
    ) -> None:
        super().__init__(where, shape, np.dtype(np.float32) if bfloat16 else dtype, BFLOAT16 if bfloat16 else "")
        self._path, self._offset, self._by_columns = path, offset, by_columns
        self._stored = np.dtype("<u2") if bfloat16 else dtype

    def _read(self, start: int, stop: int) -> Array:
        if self._by_columns:
            return self._as_numbers(self._map(0, self.shape, "F")[start:stop])
        row = prod(self.shape[1:]) * self._stored.itemsize
        return self._as_numbers(self._map(start * row, (stop - start, *self.shape[1:]), "C"))

    def _map(self, at: int, shape: tuple[int, ...], order: Any) -> Array:
        try:
            return np.asarray(np.memmap(self._path, self._stored, "r", self._offset + at, shape, order))
        except (OSError, ValueError) as error:
            raise FileError(self.where, "the array it had when it was opened", str(error), "Write it anew.") from error

    def _as_numbers(self, rows: Array) -> Array:
        if self.stored_dtype == BFLOAT16:  # the upper half of a float32
            return (rows.astype(np.uint32) << 16).view(np.float32)
        return rows.astype(self.dtype, copy=False)


class WholeArray(StoredArray):
    """An array that can only be read as a whole, which happens when its first rows are asked for."""

    def __init__(
        self, where: str, shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[], Array], bytes_needed: int
    ) -> None:
        super().__init__(where, shape, dtype)
        self._load, self._bytes = read, bytes_needed
        self._rows: Array | None = None

    def _read(self, start: int, stop: int) -> Array:
        if self._rows is None:
            available = available_memory()
            if self._bytes > available:
                raise FileError(
                    self.where,
                    f"a compressed array that fits the available memory of {available / 2**20:,.0f} MiB",
                    f"one of {self._bytes / 2**20:,.0f} MiB",
                    "Save it with numpy.savez or numpy.save, uncompressed, which is read row by row.",
                )
            self._rows = self._load().astype(self.dtype, copy=False)
        return self._rows[start:stop]


class ArrayFile(ABC):
    """A file of one or more arrays.

    Attributes:
        path: where it is.
        names: of the arrays in it.
    """

    path: Path
    names: tuple[str, ...]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @abstractmethod
    def array(self, name: str) -> StoredArray:
        """The array of this name, which is in the file.

        Raises:
            FileError: it holds no numbers, or not the bytes that it should.
        """


def check_numeric(where: str, dtype: np.dtype[Any]) -> None:
    """
    Raises:
        FileError: a dtype that is not one of NumPy's integers, booleans, or floats of at most 64 bits.
    """
    if dtype.hasobject:
        raise FileError(
            where,
            "numbers",
            "Python objects, which only unpickling would read",
            "Unpickling runs code, so it is not done; save an array of numbers.",
        )
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        got = "fields" if dtype.names else f"dtype {dtype}"
        raise FileError(where, "real numbers of at most 64 bits", got, "Convert them before they are saved.")


def available_memory() -> int:
    """Bytes that this process may still allocate without swapping: what Linux says is available, else half of all."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
