"""Safetensors files: checked by the library of that name, and mapped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from .stored import ArrayFile, FileError, MappedArray, StoredArray

LENGTH = 8  # bytes of the number before the header, which is the header's length
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


class SafetensorsFile(ArrayFile):
    """The tensors of a safetensors file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="numpy"):  # checks the header, and that its tensors fill the file
                pass
        except SafetensorError as error:
            remedy = "Write it anew with safetensors' save_file."
            raise FileError(path, "a safetensors file", f"a broken one ({error})", remedy) from error
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            tensors: dict[str, Any] = json.loads(file.read(length))
        self._start = LENGTH + length
        self._tensors = {name: tensor for name, tensor in tensors.items() if name != "__metadata__"}
        self.names = tuple(self._tensors)

    def array(self, name: str) -> StoredArray:
        where, tensor = f"{self.path}[{name}]", self._tensors[name]
        if tensor["dtype"] not in DTYPES:
            raise FileError(where, f"a dtype of {', '.join(DTYPES)}", tensor["dtype"], "Convert it before it is saved.")
        return MappedArray(
            where,
            self.path,
            self._start + tensor["data_offsets"][0],
            tuple(tensor["shape"]),
            np.dtype(DTYPES[tensor["dtype"]]),
            bfloat16=tensor["dtype"] == "BF16",
        )
