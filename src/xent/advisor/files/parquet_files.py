"""Parquet files: columns of numbers or of lists of numbers, read in batches of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from .stored import Array, ArrayFile, FileError, StoredArray, check_numeric

BATCH_BYTES = 2**21
BUFFER_BYTES = 2**16  # of each column, read ahead
FAILURES = (pa.ArrowException, OSError, ValueError)  # the last for names and shapes that damage has made senseless


class ParquetFile(ArrayFile):
    """The columns of a Parquet file. Beside its columns a name may be a pattern, or what numbered columns begin with.

    `logits` is the column of this name, else the columns logits_0, logits_1, … (or logits.0, or logits0) as one array.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        self.names = tuple(self._file.schema_arrow.names)

    def __contains__(self, name: str) -> bool:
        return bool(self._columns(name))

    def array(self, name: str) -> StoredArray:
        where, columns = f"{self.path}[{name}]", self._columns(name)
        if repeated := sorted({c for c in columns if self.names.count(c) > 1}):
            raise FileError(where, "columns with names of their own", f"several called {repeated[0]!r}", "Rename them.")
        kinds = [self._file.schema_arrow.field(column).type for column in columns]
        rows = self._file.metadata.num_rows
        lists = [k for k in kinds if pa.types.is_list(k) or pa.types.is_large_list(k) or pa.types.is_fixed_size_list(k)]
        if lists and len(kinds) > 1:
            remedy = "Name one column of lists, or columns of numbers."
            raise FileError(where, "columns of numbers", f"{len(lists)} of lists", remedy)
        numbers = [kind.value_type if lists else kind for kind in kinds]
        dtypes = [_dtype(where, column, kind) for column, kind in zip(columns, numbers, strict=True)]
        dtype = np.result_type(*dtypes)
        if not lists:
            shape = (rows,) if columns == [name] else (rows, len(columns))
            return Columns(where, self.path, columns, shape, dtype)
        if pa.types.is_fixed_size_list(kinds[0]):
            return Columns(where, self.path, columns, (rows, kinds[0].list_size), dtype)
        shortest, longest = self._lengths(where, columns[0])
        if shortest != longest and dtype.kind not in "iu":
            remedy = "Save one number for each class; lists of classes are integers."
            raise FileError(where, "lists of one length", f"lengths from {shortest} to {longest}", remedy)
        return Columns(where, self.path, columns, (rows, longest), dtype, padded=shortest != longest)

    def _columns(self, name: str) -> list[str]:
        if name in self.names:
            return [name]
        if "*" in name or "?" in name:
            return sorted((c for c in self.names if fnmatchcase(c, name)), key=_number)
        numbered = re.compile(re.escape(name) + r"[_.]?\d+")
        return sorted((c for c in self.names if numbered.fullmatch(c)), key=_number)

    def _lengths(self, where: str, column: str) -> tuple[int, int]:
        shortest, longest = [], []
        try:
            for batch in self._file.iter_batches(columns=[column]):
                found = pc.min_max(pc.list_value_length(batch.column(0)))
                shortest.append(found["min"].as_py())
                longest.append(found["max"].as_py())
        except FAILURES as error:
            raise _unreadable(where, error) from error
        return min((s for s in shortest if s is not None), default=0), max((n for n in longest if n), default=0)


class Columns(StoredArray):
    """Columns of a Parquet file as one array.

    Rows are read in order, in batches; a range that lies before what was read last begins anew at its row group.
    """

    def __init__(
        self,
        where: str,
        path: Path,
        columns: list[str],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        padded: bool = False,
    ) -> None:
        super().__init__(where, shape, dtype, padded=padded)
        self._path, self._columns = path, columns
        self._batches: Iterator[Array] = iter(())
        self._rows: Array = np.empty((0, *shape[1:]), dtype)  # the batch read last
        self._at = -1  # its first row; nothing is read yet

    def _read(self, start: int, stop: int) -> Array:
        try:
            if self._at < 0 or start < self._at:
                self._begin(start)
            parts = []
            while start < stop:
                if start >= self._at + len(self._rows):
                    self._at += len(self._rows)
                    self._rows = next(self._batches, self._rows[:0])
                    if len(self._rows) == 0:
                        raise ValueError(f"it ends at row {self._at} of {len(self)}")
                    continue
                part = self._rows[start - self._at : stop - self._at]
                parts.append(part)
                start += len(part)
        except FileError:
            raise
        except FAILURES as error:
            raise _unreadable(self.where, error) from error
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _begin(self, start: int) -> None:
        file = _open(self._path)
        metadata = file.metadata
        ends = list(accumulate(metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)))
        first = next(g for g, end in enumerate(ends) if start < end)
        batch = max(1, BATCH_BYTES // max(1, self.row_bytes))
        groups = file.iter_batches(batch, row_groups=range(first, len(ends)), columns=self._columns)
        self._at = ends[first - 1] if first else 0
        self._rows = self._rows[:0]
        self._batches = (self._numbers(b, row) for b, row in _with_rows(groups, self._at))

    def _numbers(self, batch: Any, row: int) -> Array:
        """A batch, whose first row is `row`, as numbers."""
        for column in batch.columns:
            if column.null_count and (self.dtype.kind != "f" or not pa.types.is_floating(column.type)):
                missing = row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
                raise FileError(self.where, "a value in every row", f"none in row {missing}", "Fill or drop such rows.")
        columns = [batch.column(name) for name in self._columns]
        if not hasattr(columns[0].type, "value_type"):
            parts = [c.to_numpy(zero_copy_only=False).astype(self.dtype, copy=False) for c in columns]
            return np.stack(parts, axis=1) if self.ndim == 2 else np.concatenate(parts)
        values = columns[0].flatten()
        if values.null_count and self.dtype.kind != "f":
            raise FileError(self.where, "a number in every place", "a missing one", "Fill or drop such rows.")
        flat: Array = values.to_numpy(zero_copy_only=False).astype(self.dtype, copy=False)
        if not self.padded:
            return flat.reshape(len(batch), *self.shape[1:])
        lengths = pc.list_value_length(columns[0]).to_numpy()
        rows = np.full((len(batch), *self.shape[1:]), -1, self.dtype)
        rows[np.arange(rows.shape[1]) < lengths[:, None]] = flat
        return rows


def _open(path: Path) -> Any:
    try:
        file = pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False)  # else a row group is read as a whole
        if file.metadata.num_rows < 0:
            raise ValueError(f"{file.metadata.num_rows} rows")
        return file
    except FAILURES as error:
        remedy = "Write it anew with pyarrow.parquet.write_table."
        raise FileError(path, "a Parquet file", f"a broken one ({error})", remedy) from error


def _with_rows(batches: Iterator[Any], row: int) -> Iterator[tuple[Any, int]]:
    for batch in batches:
        yield batch, row
        row += len(batch)


def _number(column: str) -> tuple[int, str]:
    """Numbered columns in the order of their numbers, after those without one."""
    digits = re.search(r"\d+$", column)
    return (int(digits[0]) if digits else -1, column)


def _dtype(where: str, column: str, kind: Any) -> np.dtype[Any]:
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        remedy = "Save class numbers, and the names apart." if pa.types.is_string(kind) else "Convert the column."
        raise FileError(where, "numbers or lists of numbers", f"{kind} in column {column!r}", remedy)
    dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    check_numeric(where, dtype)
    return dtype


def _unreadable(where: str, error: Exception) -> FileError:
    return FileError(where, "a column that can be read", str(error), "Write the file anew.")
