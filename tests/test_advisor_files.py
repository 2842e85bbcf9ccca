"""Arrays in files: the same numbers as were saved, by rows; every broken file told in one line."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from xent import peak_memory
from xent.advisor.files import EXTENSIONS, FileError, StoredArray, read_arrays, stored
from xent.advisor.files.numpy_files import NpzFile

LOGITS = np.random.default_rng(0).normal(size=(23, 5)).astype(np.float32)
LABELS = np.arange(23) % 5
RANGES = ((0, 23), (0, 1), (7, 12), (12, 23), (3, 4), (5, 5), (20, 99))


def assert_same(array: StoredArray, expected: np.ndarray) -> None:
    assert isinstance(array, StoredArray)
    assert (array.shape, array.dtype, len(array)) == (expected.shape, expected.dtype, len(expected))
    for start, stop in RANGES:
        rows = array[start:stop]
        assert rows.dtype == expected.dtype
        np.testing.assert_array_equal(rows, expected[start:stop])
    np.testing.assert_array_equal(np.asarray(array), expected)


def read_all(path: Path, sources: dict[str, str]) -> None:
    for array in read_arrays(path, sources).values():
        array[:]


def assert_refused(match: str, path: Path, **sources: str) -> None:
    """One line that names the file, what was expected, what came."""
    with pytest.raises(FileError, match=match) as refused:
        read_all(path, sources)
    text = str(refused.value)
    assert "\n" not in text
    assert ": expected " in text
    assert ", got " in text
    assert str(path.parent) in text


def save(path: Path, logits: np.ndarray = LOGITS, labels: np.ndarray = LABELS, **more: np.ndarray) -> Path:
    """The arrays in a file of the kind of its extension."""
    arrays = {"logits": logits, "labels": labels, **more}
    if path.suffix == ".npz":
        (np.savez_compressed if "compressed" in path.name else np.savez)(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path)
    else:
        columns = {name: list(a) if a.ndim == 2 else a for name, a in arrays.items()}
        pq.write_table(pa.table(columns), path, row_group_size=9)
    return path


NAMES = ("a.npz", "compressed.npz", "a.safetensors", "a.parquet", "a.pq")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_was_saved_is_read(tmp_path, name, dtype):
    logits = LOGITS.astype(dtype)
    weight = np.linspace(1, 2, 23)
    arrays = read_arrays(save(tmp_path / name, logits, sample_weight=weight))
    assert list(arrays) == ["logits", "labels", "sample_weight"]
    assert_same(arrays["logits"], logits)
    assert_same(arrays["labels"], LABELS)
    assert_same(arrays["sample_weight"], weight)
    assert arrays["logits"].stored_dtype == dtype
    assert repr(arrays["logits"]).endswith(f"{dtype}[23, 5]>")


def test_every_extension_is_tested():
    assert {Path(name).suffix for name in NAMES} | {".npy"} == set(EXTENSIONS)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", "<f2", "f8"])
def test_npy_in_both_orders_and_of_either_byte_order(tmp_path, order, dtype):
    saved = np.asarray(LOGITS, dtype, order=order)
    np.save(tmp_path / "logits.npy", saved)
    np.save(tmp_path / "labels.npy", LABELS.astype(np.int32))
    arrays = read_arrays(tmp_path / "logits.npy", {"labels": str(tmp_path / "labels.npy")})
    assert_same(arrays["logits"], saved.astype(saved.dtype.newbyteorder("=")))
    assert_same(arrays["labels"], LABELS.astype(np.int32))


def test_bfloat16_comes_as_float32_without_a_loss(tmp_path):
    half = LOGITS.astype(ml_dtypes.bfloat16)
    data, labels = half.tobytes(), LABELS.tobytes()
    header = {
        "logits": {"dtype": "BF16", "shape": [23, 5], "data_offsets": [0, len(data)]},
        "labels": {"dtype": "I64", "shape": [23], "data_offsets": [len(data), len(data) + len(labels)]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data + labels)
    np.save(tmp_path / "a.npy", half)
    for name in ("a.safetensors", "a.npy"):
        logits = read_arrays(tmp_path / name, {"labels": str(tmp_path / "a.safetensors")})["logits"]
        assert logits.stored_dtype == "bfloat16"
        assert_same(logits, half.astype(np.float32))


def test_reading_needs_no_framework(tmp_path):
    save(tmp_path / "a.safetensors")
    code = (
        "import sys\nfrom xent.advisor.files import read_arrays\n"
        f"read_arrays({str(tmp_path / 'a.safetensors')!r})['logits'][:3]\n"
        "print([m for m in ('torch', 'jax', 'tensorflow', 'ml_dtypes', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_uncompressed_members_are_mapped_and_compressed_ones_are_not(tmp_path):
    plain, whole = (NpzFile(save(tmp_path / name)).array("logits") for name in ("a.npz", "compressed.npz"))
    assert isinstance(plain, stored.MappedArray)
    assert isinstance(whole, stored.WholeArray)


def test_a_compressed_array_larger_than_the_available_memory_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "compressed.npz")
    assert stored.available_memory() > 2**20
    monkeypatch.setattr(stored, "available_memory", lambda: 100)
    assert_refused(r"a compressed array that fits .* uncompressed", path)
    assert_same(read_arrays(save(tmp_path / "a.npz"))["logits"], LOGITS)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    logits = read_arrays(save(tmp_path / "a.npz"))["logits"]
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:300])
    with pytest.raises(FileError, match="expected the array it had when it was opened"):
        logits[10:20]


def test_ranges_without_rows_and_steps(tmp_path):
    logits = read_arrays(save(tmp_path / "a.npz"))["logits"]
    assert logits[9:3].shape == (0, 5)
    with pytest.raises(ValueError, match="rows: expected a range without steps"):
        logits[::2]


# Names


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.parquet"])
def test_arrays_by_name_and_from_another_file(tmp_path, name):
    path = save(tmp_path / name, scores=2 * LOGITS, truth=LABELS[::-1].copy())
    arrays = read_arrays(path, {"logits": "scores", "labels": "truth"})
    assert_same(arrays["logits"], 2 * LOGITS)
    assert_same(arrays["labels"], LABELS[::-1])
    other = save(tmp_path / "other.npz", labels=LABELS + 1)
    assert_same(read_arrays(path, {"labels": str(other)})["labels"], LABELS + 1)
    np.save(tmp_path / "labels.npy", LABELS + 2)
    assert_same(read_arrays(path, {"labels": str(tmp_path / "labels.npy")})["labels"], LABELS + 2)


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.parquet"])
def test_a_missing_array_is_told_with_those_there_are(tmp_path, name):
    path = save(tmp_path / name)
    assert_refused("labels called 'truth', got arrays called .*--labels", path, labels="truth")
    assert_refused("sample_weight called 'w', got arrays .*--sample-weight", path, sample_weight="w")
    assert_refused("a file that can be read, got No such file", path, labels=str(tmp_path / "none.npy"))


def test_labels_beside_one_array_are_asked_for(tmp_path):
    np.save(tmp_path / "logits.npy", LOGITS)
    assert_refused("labels, got the logits alone. Name their file: --labels labels.npy", tmp_path / "logits.npy")


@pytest.mark.parametrize("kind", ["npz", "safetensors", "parquet"])
def test_labels_or_logits_alone_where_nothing_is_required(tmp_path, kind):
    both = read_arrays(save(tmp_path / f"both.{kind}"), required=())
    assert list(both) == ["logits", "labels"]
    for name, array in (("logits", LOGITS), ("labels", LABELS)):
        path = tmp_path / f"{name}.{kind}"
        if kind == "npz":
            np.savez(path, **{name: array})
        elif kind == "safetensors":
            save_file({name: array}, path)
        else:
            pq.write_table(pa.table({name: list(array)}), path)
        (role, found), *none = read_arrays(path, required=()).items()
        assert (role, none) == (name, [])
        assert_same(found, array)
        with pytest.raises(FileError, match=r"expected (labels|logits) called"):
            read_arrays(path)


def test_an_only_array_has_its_role_by_dtype_where_nothing_is_required(tmp_path):
    for name, array in (("logits", LOGITS), ("labels", LABELS)):
        np.save(tmp_path / "only.npy", array)
        assert list(read_arrays(tmp_path / "only.npy", required=())) == [name]
    np.savez(tmp_path / "other.npz", x=LABELS)
    with pytest.raises(FileError, match="expected an array called logits or labels, got arrays called 'x'"):
        read_arrays(tmp_path / "other.npz", required=())


def test_one_column_a_class_in_the_order_of_their_numbers(tmp_path):
    wide = np.random.default_rng(1).normal(size=(23, 12)).astype(np.float32)
    columns = {f"logits_{k}": wide[:, k] for k in sorted(range(12), key=str)} | {"labels": LABELS}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=7)
    assert_same(read_arrays(tmp_path / "a.parquet")["logits"], wide)
    assert_same(read_arrays(tmp_path / "a.parquet", {"logits": "logits_*"})["logits"], wide)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 5), pa.large_list(pa.float32()), pa.list_(pa.float64())])
def test_lists_of_logits(tmp_path, kind):
    table = pa.table({"logits": pa.array(LOGITS.tolist(), kind), "labels": LABELS})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10)
    dtype = np.float64 if kind.value_type == pa.float64() else np.float32
    assert_same(read_arrays(tmp_path / "a.parquet")["logits"], LOGITS.astype(dtype))


def test_lists_of_classes_are_filled_up(tmp_path):
    lists = [[1, 4], [], [2], *[[k % 5] for k in range(20)]]
    pq.write_table(pa.table({"logits": list(LOGITS), "labels": lists}), tmp_path / "a.parquet", row_group_size=4)
    labels = read_arrays(tmp_path / "a.parquet")["labels"]
    assert labels.padded
    assert labels[:3].tolist() == [[1, 4], [-1, -1], [2, -1]]
    assert_same(labels, np.array([row + [-1] * (2 - len(row)) for row in lists]))


def test_parquet_is_read_in_batches_forwards_and_back(tmp_path, monkeypatch):
    from xent.advisor.files import parquet_files

    monkeypatch.setattr(parquet_files, "BATCH_BYTES", 60)  # three rows
    logits = read_arrays(save(tmp_path / "a.parquet"))["logits"]
    for start in (*range(0, 23, 2), 11, 3, 20, 0):
        np.testing.assert_array_equal(logits[start : start + 5], LOGITS[start : start + 5])
        assert len(logits._rows) <= 3


STREAM = """
import sys
from xent import peak_memory
from xent.advisor.files import read_arrays
def read(path):
    logits = read_arrays(path)["logits"]
    for start in range(0, len(logits), 500):
        logits[start : start + 500]
read(sys.argv[1])
print(peak_memory.added_by(lambda: read(sys.argv[2])))
"""


@pytest.mark.skipif(not peak_memory.measurable(), reason="this system does not count peak memory")
@pytest.mark.parametrize("name", ["large.npz", "large.parquet", "large.safetensors"])
def test_files_are_streamed(tmp_path, name):
    """96 MiB, in Parquet one row group, in less than two thirds of that."""
    large = np.random.default_rng(0).integers(0, 2**8, (48 * 1024, 2 * 1024), np.uint8).view(np.float16)
    labels = np.zeros(len(large), np.int64)
    if name == "large.parquet":
        lists = pa.FixedSizeListArray.from_arrays(pa.array(large.ravel()), 1024)
        pq.write_table(
            pa.table({"logits": lists, "labels": labels}), tmp_path / name, use_dictionary=False, compression="none"
        )
    else:
        save(tmp_path / name, large, labels)
    small = save(tmp_path / f"small{Path(name).suffix}")
    (tmp_path / "stream.py").write_text(STREAM)
    added = peak_memory.in_fresh_process(str(tmp_path / "stream.py"), str(small), str(tmp_path / name))
    assert added < large.nbytes * 2 / 3


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"logits": [[1.0, 2.0], [1.0]], "labels": [0, 1]}, "lists of one length, got lengths from 1 to 2"),
        ({"logits": [[1.0, 2.0], None], "labels": [0, 1]}, "a value in every row, got none in row 1"),
        ({"logits": [[1.0, 2.0]] * 2, "labels": [None, 1]}, "a value in every row, got none in row 0"),
        ({"logits": [[1.0, 2.0]] * 2, "labels": ["cat", "dog"]}, "got string in column 'labels'. Save class numbers"),
        ({"logits": [[1.0, 2.0]] * 2, "labels": [[1, None], [0, 1]]}, "a number in every place"),
    ],
)
def test_columns_that_are_no_arrays(tmp_path, columns, match):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert_refused(match, tmp_path / "a.parquet")


def test_a_missing_float_is_nan(tmp_path):
    pq.write_table(pa.table({"logits_0": [1.0, None], "logits_1": [0.5, 2.0], "labels": [0, 1]}), tmp_path / "a.pq")
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.pq")["logits"][:], [[1.0, 0.5], [np.nan, 2.0]])


# Arrays that do not belong together


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_arrays_of_different_lengths(tmp_path, name):
    assert_refused(r"labels for the 23 rows of .*, got 22 rows", save(tmp_path / name, labels=LABELS[1:]))
    assert_refused(r"sample_weight for the 23 rows", save(tmp_path / name, sample_weight=np.ones(7)))
    assert_refused("floats as logits, got int64", save(tmp_path / name, logits=LABELS))
    assert_refused("at least one row", save(tmp_path / name, logits=LOGITS[:0], labels=LABELS[:0]))
    assert_refused("an array with rows, got a single number", save(tmp_path / name, labels=np.array(3)))


# Broken files


def test_files_that_are_none(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "a.csv").write_text("1,2")
    assert_refused("got a folder", tmp_path / "folder.npz")
    assert_refused("got a folder", tmp_path / "folder.npz" / "..")
    assert_refused("got the extension '.csv'", tmp_path / "a.csv")
    assert_refused("got no extension", tmp_path / "logits")
    for extension in EXTENSIONS:
        (tmp_path / f"empty{extension}").touch()
        assert_refused("got an empty file", tmp_path / f"empty{extension}")
        assert_refused("got No such file or directory", tmp_path / f"none{extension}")
        (tmp_path / f"text{extension}").write_text("This is a text of no interest, longer than any header." * 5)
        assert_refused(r"expected (an \.np[yz]|a safetensors|a Parquet) ", tmp_path / f"text{extension}")


@pytest.mark.parametrize("name", ["a.npy", *NAMES])
def test_truncated_files(tmp_path, name):
    """Cut at every place of a small file, or at a hundred: told when it is opened or when rows are read."""
    path = tmp_path / name
    sources = {}
    if name == "a.npy":
        np.save(path, LOGITS)
        np.save(tmp_path / "labels.npy", LABELS)
        sources = {"labels": str(tmp_path / "labels.npy")}
    else:
        save(path)
    data = path.read_bytes()
    for end in np.unique(np.linspace(1, len(data) - 1, 100, dtype=int)):
        path.write_bytes(data[:end])
        assert_refused("expected", path, **sources)


@pytest.mark.parametrize("name", ["a.npy", *NAMES])
def test_damaged_files_give_an_error_or_an_array(tmp_path, name):
    """One byte changed: never another exception, never a crash."""
    path = tmp_path / name
    np.save(tmp_path / "labels.npy", LABELS)
    sources = {"labels": str(tmp_path / "labels.npy")}
    np.save(path, LOGITS) if name == "a.npy" else save(path)
    data = path.read_bytes()
    random = np.random.default_rng(0)
    messages = []
    for at in random.choice(len(data), 150, replace=False):
        path.write_bytes(data[:at] + bytes([data[at] ^ random.integers(1, 256)]) + data[at + 1 :])
        try:
            read_all(path, sources)
        except FileError as error:
            messages.append(str(error))
    assert 0 < len(messages) < 150
    assert not any("\n" in text for text in messages)


class Bomb:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path):
    mark = tmp_path / "mark"
    bomb = np.array([Bomb(mark)] * 3, dtype=object)
    np.save(tmp_path / "logits.npy", bomb, allow_pickle=True)
    np.savez(tmp_path / "a.npz", logits=bomb, labels=LABELS)
    np.savez_compressed(tmp_path / "b.npz", logits=LOGITS, labels=bomb)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Bomb(mark)))
    for name in ("logits.npy", "a.npz", "b.npz"):
        assert_refused("got Python objects, which only unpickling would read", tmp_path / name)
    assert_refused("an .npy header", tmp_path / "c.npy")
    assert not mark.exists()


@pytest.mark.parametrize("labels", [np.array(["a"] * 23), np.zeros(23, complex), np.zeros(23, [("x", "f4")])])
def test_arrays_without_numbers(tmp_path, labels):
    np.savez(tmp_path / "a.npz", logits=LOGITS, labels=labels)
    assert_refused("real numbers of at most 64 bits, got (fields|dtype)", tmp_path / "a.npz")


def test_safetensors_of_a_dtype_without_numbers_in_numpy(tmp_path):
    text = json.dumps({"logits": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"abcd")
    assert_refused("expected a dtype of F64.*, got F8_E4M3", tmp_path / "a.safetensors")


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    assert_refused("got no arrays at all", tmp_path / "a.npz")
