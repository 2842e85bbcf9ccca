"""Arrays in files, larger than memory if need be: what `xent check`, `xent choose` and `xent report` read.

| file | what is mapped, what is read |
|---|---|
| .npy | mapped, rows as they are asked for; in Fortran's order too, which then touches the whole file |
| .npz by `numpy.savez` | each array is mapped where it lies in the archive; its checksum is not computed |
| .npz by `numpy.savez_compressed` | each array is read as a whole when its first rows are asked for; refused where it exceeds the available memory |
| .safetensors | mapped; bfloat16 comes as float32, which holds it exactly |
| .parquet | read in batches of about 2 MiB, forwards; a range that lies further back begins anew at its row group. Lists of varying length are looked through once when the file is opened |

Opening a file reads its headers only. Nothing is ever unpickled.
"""  # noqa: E501

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path

from .stored import ArrayFile, FileError, StoredArray

__all__ = ["FileError", "StoredArray", "read_arrays"]

REQUIRED = ("logits", "labels")
PER_ROW = ("labels", "sample_weight")
OPTIONAL = ("sample_weight", "class_weight", "pos_weight")

# Where each kind of file is read; the module of a kind that is not used is not imported.
_KINDS = {
    ".npy": ("numpy_files", "NpyFile"),
    ".npz": ("numpy_files", "NpzFile"),
    ".safetensors": ("safetensors_files", "SafetensorsFile"),
    ".parquet": ("parquet_files", "ParquetFile"),
    ".pq": ("parquet_files", "ParquetFile"),
}
EXTENSIONS = tuple(_KINDS)


def read_arrays(
    path: str | os.PathLike[str],
    sources: Mapping[str, str | None] | None = None,
    required: Collection[str] = REQUIRED,
) -> dict[str, StoredArray]:
    """The arrays of a file by their roles: logits and labels, and the weights that are there.

    Args:
        path: a file of one of `EXTENSIONS`.
        sources: for a role ("logits", "labels", "sample_weight", "class_weight", "pos_weight") the name of its array
            in the file (in Parquet also a pattern such as "score_*" for one column a class), or another file, of which
            it is the array of the role's name or the only one. By default the name of the role. The one array of an
            .npy file is the logits; where these are not required and it holds no floats, it is the labels.
        required: the roles without which the file is refused; without any of them one of logits and labels is.

    Returns:
        The arrays of the roles that are required, and of those that are named or there under the name of their role.

    Raises:
        FileError: a file that is missing, broken, or of an unknown kind; an array that is missing or holds no numbers;
            arrays that do not belong together. The message is one line.

    Example:
        >>> import numpy as np, tempfile
        >>> from xent.advisor.files import read_arrays
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/logits.npz", logits=np.eye(3, dtype=np.float32), labels=np.arange(3))
        ...     arrays = read_arrays(f"{folder}/logits.npz")
        ...     arrays["logits"].shape, arrays["labels"][1:]
        ((3, 3), array([1, 2]))
    """
    sources = dict(sources or {})
    file = _open(path)
    found = {}
    for role in (*REQUIRED, *OPTIONAL):
        source = sources.get(role)
        array = _array(file, role, source, "logits" in required)
        if array is not None:
            found[role] = array
        elif source is not None or role in required:
            raise _missing(file, role, source)
    if found.keys().isdisjoint(REQUIRED):
        raise FileError(file.path, "an array called logits or labels", _contents(file), "Save them under these names.")
    _check_rows(found)
    return found


def _open(path: str | os.PathLike[str]) -> ArrayFile:
    path = Path(path)
    known = f"a file of one of {', '.join(EXTENSIONS)}"
    if path.suffix.lower() not in _KINDS:
        got = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise FileError(path, known, "a folder" if path.is_dir() else got, "Save the arrays with numpy.savez.")
    module, name = _KINDS[path.suffix.lower()]
    try:
        if path.is_dir():
            raise FileError(path, known, "a folder", "Name one file in it.")
        if path.stat().st_size == 0:
            raise FileError(path, known, "an empty file", "Write it anew.")
        reader: Callable[[Path], ArrayFile] = getattr(import_module(f".{module}", __name__), name)
        return reader(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(path, "a file that can be read", reason, "Check its name and its permissions.") from error


def _array(file: ArrayFile, role: str, source: str | None, needs_logits: bool) -> StoredArray | None:
    """The array of a role, None where the file has none."""
    name = role if source is None else source
    if name in file:
        return file.array(name)
    if source is None:
        if role not in REQUIRED or file.names != ("",):
            return None
        only = file.array("")
        return only if role == ("logits" if needs_logits or only.dtype.kind == "f" else "labels") else None
    if Path(source).suffix.lower() not in _KINDS and not Path(source).exists():
        return None
    other = _open(source)
    name = role if role in other or len(other.names) != 1 else other.names[0]
    if name not in other:
        raise _missing(other, role, None)
    return other.array(name)


def _missing(file: ArrayFile, role: str, source: str | None) -> FileError:
    option = "--" + role.replace("_", "-")
    wanted = f"{role} called {source or role!r}"
    if file.names == ("",):
        wanted = f"{role}" if source is None else f"{role} in the file {source!r}"
        return FileError(file.path, wanted, "the logits alone", f"Name their file: {option} {role}.npy.")
    return FileError(file.path, wanted, _contents(file), f"Name one of them, or another file, with {option}.")


def _contents(file: ArrayFile) -> str:
    shown = ", ".join(map(repr, file.names[:20])) + (", …" if len(file.names) > 20 else "")
    return f"arrays called {shown}" if file.names else "no arrays at all"


def _check_rows(arrays: Mapping[str, StoredArray]) -> None:
    rows = arrays["logits" if "logits" in arrays else "labels"]
    if "logits" in arrays and rows.dtype.kind != "f":
        remedy = "Save the model's unnormalised scores under the name logits, or name them with --logits."
        raise FileError(rows.where, "floats as logits", rows.stored_dtype, remedy)
    if len(rows) == 0:
        raise FileError(rows.where, "at least one row", f"shape {rows.shape}", "Save the rows to look at.")
    for role in PER_ROW:
        if role in arrays and len(arrays[role]) != len(rows):
            raise FileError(
                arrays[role].where,
                f"{role} for the {len(rows):,} rows of {rows.where}",
                f"{len(arrays[role]):,} rows",
                "Save them from one run, in the same order.",
            )
