"""NumPy's files: .npy, mapped, and .npz, whose uncompressed members are mapped where they lie in the archive.

Nothing is ever unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from .stored import Array, ArrayFile, FileError, MappedArray, StoredArray, WholeArray, check_numeric

BFLOAT16 = np.dtype("V2")  # NumPy's format has no name for bfloat16, and writes it as two bytes of nothing
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)
LOCAL_HEADER = 30  # bytes of a zip member's own header, before its name and its extra field


class Header(NamedTuple):
    """What an .npy header says, and its length in bytes."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def data_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class NpyFile(ArrayFile):
    """The one array of an .npy file, which has no name."""

    def __init__(self, path: Path) -> None:
        self.path, self.names = path, ("",)
        with path.open("rb") as file:
            self._header = _header(str(path), file, "save")
        _check_size(str(path), path.stat().st_size - self._header.length, self._header, "save")

    def array(self, name: str) -> StoredArray:
        return _mapped(str(self.path), self.path, 0, self._header)


class NpzFile(ArrayFile):
    """The arrays of an .npz file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise FileError(path, "an .npz file", f"no archive or half of one ({error})", _remedy("savez")) from error
        self._members = {i.filename.removesuffix(".npy"): i for i in infos if i.filename.endswith(".npy")}
        self.names = tuple(self._members)

    def array(self, name: str) -> StoredArray:
        where, info = f"{self.path}[{name}]", self._members[name]
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as member:
                header = _header(where, member, "savez")
        except BROKEN as error:
            raise FileError(where, "an array", f"a member that cannot be read ({error})", _remedy("savez")) from error
        _check_size(where, info.file_size - header.length, header, "savez")
        if info.compress_type == zipfile.ZIP_STORED:
            with self.path.open("rb") as file:
                file.seek(info.header_offset)
                local = file.read(LOCAL_HEADER)
            start = info.header_offset + LOCAL_HEADER + sum(np.frombuffer(local, "<u2", 2, LOCAL_HEADER - 4).tolist())
            _check_size(where, self.path.stat().st_size - start - header.length, header, "savez")
            return _mapped(where, self.path, start, header)
        if header.dtype == BFLOAT16:
            raise FileError(where, "an uncompressed array of bfloat16", "a compressed one", "Use numpy.savez.")
        return WholeArray(where, header.shape, header.dtype, lambda: self._whole(where, info), header.data_bytes)

    def _whole(self, where: str, info: zipfile.ZipInfo) -> Array:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as member:
                array: Array = npy.read_array(member, allow_pickle=False)
                member.read(1)  # the checksum is compared at the end
        except (*BROKEN, ValueError) as error:
            raise FileError(where, "an array", f"a member that cannot be read ({error})", _remedy("savez")) from error
        return array


def _header(where: str, file: IO[bytes], writer: str) -> Header:
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_columns, dtype = read(file)
    except BROKEN:
        raise  # the archive's fault, which says more
    except Exception as error:  # a broken header is parsed as Python, with the errors of its tokenizer and parser
        raise FileError(where, "an .npy header", str(error) or type(error).__name__, _remedy(writer)) from error
    if dtype != BFLOAT16:
        check_numeric(where, dtype)
    if any(length < 0 for length in shape):
        raise FileError(where, "an .npy header", f"shape {shape}", _remedy(writer))
    return Header(shape, by_columns, dtype, file.tell())


def _check_size(where: str, left: int, header: Header, writer: str) -> None:
    if left < header.data_bytes:
        expected = f"{header.data_bytes:,} bytes for shape {header.shape}"
        raise FileError(where, expected, f"{max(left, 0):,}: it is truncated", _remedy(writer))


def _mapped(where: str, path: Path, start: int, header: Header) -> MappedArray:
    return MappedArray(
        where,
        path,
        start + header.length,
        header.shape,
        header.dtype,
        by_columns=header.by_columns,
        bfloat16=header.dtype == BFLOAT16,
    )


def _remedy(writer: str) -> str:
    return f"Write it anew with numpy.{writer}."
