"""`xent demo --text`: the corpus, the language model, both forms of the loss, what is printed and drawn."""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from xent import peak_memory
from xent.cli import main
from xent.demo import text
from xent.demo.corpus import FEWEST_PIECES, PIECE, UNKNOWN, Vocabulary, read_corpus, standard_library
from xent.demo.language import LOSSES, LanguageModel
from xent.demo.text_report import seen, visible
from xent.demo.usage import UsageError

LINES = "for i in range(10):\n    total += values[i]\n\nif __name__ == 'main':\n\tprint(total)\n"


def silent(name: str, done: int, total: int, loss: float) -> None:
    """A progress that nobody sees."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modules of a package, and what is no part of its source."""
    out = tmp_path_factory.mktemp("source")
    for name, content in {
        "one.py": LINES * 40,
        "deeper/two.py": LINES * 40 + "rare = once\n",
        "tests/test_one.py": "skipped = skipped\n" * 40,
        "notes.txt": "skipped = skipped\n" * 40,
    }.items():
        path = out / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return out


class Run(NamedTuple):
    status: int
    text: str
    folder: Path


@pytest.fixture(scope="module")
def demo(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("demo") / "made" / "here"
    with redirect_stdout(StringIO()) as printed:
        status = main(["demo", "--text", str(folder), "--steps", "5", "--out", str(out)])
    return Run(status, printed.getvalue(), out)


# The corpus


def test_the_pieces_of_a_text() -> None:
    found = [match.group() for match in PIECE.finditer("x2 = f(0x1F)  # naïve\n\n    \n    return a ** 3.5\n")]
    assert found == ["x2", "=", "f", "(", "0", "x1F", ")", "#", "naïve", "\n    ", "return", "a", "**", "3", ".", "5"]


def test_the_vocabulary_is_that_of_the_text_and_the_most_frequent_come_first(folder: Path) -> None:
    corpus = read_corpus(folder, seed=0)
    assert corpus.files == 2
    assert corpus.vocabulary.pieces[0] == UNKNOWN
    assert "skipped" not in corpus.vocabulary.pieces
    counts = corpus.counts
    assert counts[0] == 0  # everything was kept
    assert (np.diff(counts[1:]) <= 0).all()
    assert counts[1:].min() >= 1
    words = [corpus.vocabulary.pieces[k] for k in np.concatenate((corpus.train, corpus.held_out))]
    read = [m.group() for name in ("one.py", "deeper/two.py") for m in PIECE.finditer((folder / name).read_text())]
    assert sorted(word for word in words if word != UNKNOWN) == sorted(w for w in read if w in corpus.vocabulary.pieces)
    assert len(words) == len(read)
    assert len(corpus.held_out) == len(read) // 20


def test_what_is_rare_is_unknown(folder: Path) -> None:
    corpus = read_corpus(folder, seed=0, vocabulary=6)
    assert len(corpus.vocabulary.pieces) == 6
    everything = read_corpus(folder, seed=0)
    kept = {name: k for k, name in enumerate(corpus.vocabulary.pieces)}
    for few, all_of_them in ((corpus.train, everything.train), (corpus.held_out, everything.held_out)):
        assert few.tolist() == [kept.get(everything.vocabulary.pieces[k], 0) for k in all_of_them]
    assert corpus.counts.sum() == len(corpus.train)
    assert corpus.counts[0] > 0


def test_encoding_a_text_gives_the_numbers_of_the_corpus(folder: Path) -> None:
    corpus = read_corpus(folder, seed=0)
    encoded = corpus.vocabulary.encode(LINES)
    assert [corpus.vocabulary.pieces[k] for k in encoded] == [m.group() for m in PIECE.finditer(LINES)]
    assert encoded[:20].tolist() == corpus.train[:20].tolist()  # both files begin with these lines
    assert Vocabulary((UNKNOWN, "a")).encode("a b").tolist() == [1, 0]


def test_one_seed_gives_one_order_of_the_files(folder: Path) -> None:
    first, second = read_corpus(folder, seed=0), read_corpus(folder, seed=0)
    assert first.train.tolist() == second.train.tolist()
    assert first.vocabulary == second.vocabulary
    others = [read_corpus(folder, seed) for seed in range(1, 8)]
    assert any(other.held_out.tolist() != first.held_out.tolist() for other in others)


def test_the_standard_library_has_a_vocabulary_above_20000() -> None:
    corpus = read_corpus(standard_library(), seed=0)
    assert len(corpus.vocabulary.pieces) > 20_000
    assert len(corpus.train) > 1_000_000
    assert np.mean(corpus.held_out == 0) < 0.1


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(UsageError, match=r"--text: expected files that can be read, got .*\.py \(Permission denied\)"):
        read_corpus(folder, seed=0)


def test_windows_are_contexts_and_what_follows() -> None:
    contexts, labels = text.windows(np.arange(10, 17), 3, np.array([3, 0, 4, 6]))
    assert contexts.tolist() == [[13, 14, 15], [10, 11, 12]]
    assert labels.tolist() == [16, 13]


# The model


@pytest.mark.parametrize("name", LOSSES)
def test_backpropagation_agrees_with_finite_differences(name: str) -> None:
    rng = np.random.default_rng(0)
    model = LanguageModel(rng.integers(1, 50, 11), rng, context=3, embedding=4, hidden=5)
    parameters = [p + rng.normal(0, 0.1, p.shape) for p in model.parameters]  # float64
    model.embedding, model.w1, model.b1, model.weight, model.bias = parameters
    contexts, labels = rng.integers(0, 11, (7, 3)), rng.integers(0, 11, 7)
    contexts[:, 1] = 4  # a piece that occurs many times: its gradients add up
    x, hidden = model.hidden(contexts)
    _, of_head = LOSSES[name](hidden, model.weight, model.bias, labels)
    for parameter, gradient in zip(model.parameters, model.gradients(contexts, x, hidden, of_head), strict=True):
        direction = rng.normal(size=parameter.shape)
        losses = []
        for step in (1e-6, -2e-6):
            parameter += step * direction
            losses.append(model.loss(contexts, labels))
        parameter += 1e-6 * direction
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-6)


def test_before_training_the_model_knows_the_frequencies() -> None:
    counts = np.array([0, 700, 200, 99])
    model = LanguageModel(counts, np.random.default_rng(0), context=2, embedding=3, hidden=4)
    model.weight[:] = 0
    frequencies = model.probabilities(np.array([[1, 2]]))[0]
    assert frequencies == pytest.approx((counts + 1) / (counts + 1).sum(), rel=1e-6)


def test_both_learn_along_one_curve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "measurable", lambda: False)
    corpus = read_corpus(folder, seed=0)
    found = text.compare(corpus, steps=8, seed=0, progress=silent)
    dense, fused = found.both()
    assert len(dense.losses) == len(fused.losses) == len(dense.seconds) == len(fused.loss_seconds) == 8
    assert found.gaps.max() < 1e-5
    assert dense.held_out == pytest.approx(fused.held_out, rel=1e-5)
    assert dense.held_out < found.untrained
    assert dense.losses[-1] < dense.losses[0] / 2
    assert 0 < dense.loss_time < dense.step_time
    assert dense.peak_bytes is None
    assert "MiB" not in seen(found)
    again, other = (text.compare(corpus, steps=2, seed=seed, progress=silent) for seed in (0, 1))
    assert again.dense.losses[0] == dense.losses[0] != other.dense.losses[0]


def test_the_model_goes_on_with_a_line_that_it_has_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "measurable", lambda: False)
    corpus = read_corpus(folder, seed=0)
    model = text.compare(corpus, steps=20, seed=0, progress=silent).fused.model
    context = corpus.vocabulary.encode("total += values[i]\n\nif __name__ == '")[-model.context :]
    likeliest = model.probabilities(context[None])[0].argmax()
    assert corpus.vocabulary.pieces[likeliest] == "main"
    for one in text.continuations(model, corpus.vocabulary):
        probabilities = [p for _, p in one.pieces]
        assert probabilities == sorted(probabilities, reverse=True)
        assert UNKNOWN not in [piece for piece, _ in one.pieces]


def test_every_beginning_fills_the_context() -> None:
    for before, beginning in text.BEGINNINGS:
        pieces = list(PIECE.finditer(f"\n{before}\n{beginning}"))
        assert len(pieces) >= text.learner("dense", np.ones(3), seed=0).model.context, beginning


@pytest.mark.skipif(not peak_memory.measurable(), reason="peak memory is measured through Linux's /proc")
def test_the_fused_loss_needs_less_memory() -> None:
    logits = 4 * text.BATCH * 24_000
    dense, fused = (text.peak_bytes(name, 24_000) for name in LOSSES)
    assert dense is not None
    assert fused is not None
    assert dense >= 1.9 * logits  # the logits and their gradient
    assert fused < logits / 1.5


# The whole command


def test_the_demo_prints_its_results_in_80_columns(demo: Run) -> None:
    assert demo.status == 0
    for words in ("dense", "fused", "The same curve", "held out", "perplexity", "__init__(", "5/5"):
        assert words in demo.text
    assert "\x1b" not in demo.text
    shown, _, plots = demo.text.partition("Plots:\n")
    assert max(map(len, shown.splitlines()[1:])) <= 80  # the first names the folder, unbroken
    assert plots == f"  {demo.folder / 'text-model.png'}\n"
    assert [path.name for path in demo.folder.iterdir()] == ["text-model.png"]
    assert (demo.folder / "text-model.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_quiet_prints_only_results(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "measurable", lambda: False)
    arguments = ["demo", "--text", str(folder), "--steps", "1", "--quiet", "--out", str(tmp_path)]
    with redirect_stdout(StringIO()) as printed:
        assert main(arguments) == 0
    assert printed.getvalue().startswith("One language model, trained twice")
    assert "it is measured on Linux only" in printed.getvalue()
    assert "1/1" not in printed.getvalue()


def test_line_breaks_are_shown() -> None:
    assert [visible(piece) for piece in ("\n", "\n    ", "self", "==")] == ["newline", "newline+4", "self", "=="]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--text", "nowhere"], f"--text: expected a folder with at least {FEWEST_PIECES} words and signs of Python"),
        (["--text", "--steps", "0"], "--steps: expected an integer of at least 1, got '0'"),
        (["--steps", "3"], "--steps: expected to go with --text, got it alone"),
        (["--text", "--epochs", "3"], "--epochs: expected to go without --text, got both"),
    ],
)
def test_wrong_arguments_give_one_line_and_status_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert words in output.err
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_folder_for_the_plot_gives_one_line_and_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--text", str(folder), "--out", str(folder / "notes.txt")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "--out: expected a folder to write to" in output.err
    assert output.err.count("\n") == 1


def test_the_folder_that_one_is_in_can_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peak_memory, "measurable", lambda: False)
    monkeypatch.chdir(folder)
    with redirect_stdout(StringIO()) as printed:
        assert main(["demo", "--text", ".", "--steps", "1", "--out", str(tmp_path)]) == 0
    assert "2 files" in printed.getvalue()


def test_text_needs_no_scikit_learn_and_no_framework(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from xent.cli import main; "
        f"status = main(['demo', '--text', {str(folder)!r}, '--steps', '1', '--quiet']); "
        "print(status, {'torch', 'sklearn', 'xent.bench'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stderr == ""
    assert done.stdout.endswith("\n0 set()\n")
