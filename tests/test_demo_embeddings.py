"""`xent demo --embeddings`: the words, the vectors, the four losses, what is printed and drawn."""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import xent
from xent.cli import main
from xent.demo import embeddings, skip_gram, words
from xent.demo.corpus import FEWEST_PIECES, Vocabulary, read_corpus
from xent.demo.skip_gram import FULL, LOSSES, NCE, NEGATIVE, Adagrad, Objective, SkipGram
from xent.demo.usage import UsageError
from xent.demo.words import OFFSETS, WINDOW, Words, words_of

SAMPLED_LOSSES = [name for name in LOSSES if name != FULL]


def silent(name: str, done: int, total: int, loss: float) -> None:
    """A progress that nobody sees."""


def source(lines: int, seed: int) -> str:
    """Lines about one of four subjects each, of 60 words that come up nowhere else."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(lines):
        subject = "abcd"[rng.integers(4)]
        out.append(" + ".join(f"{subject}{k}" for k in rng.integers(0, 60, 12)) + " == 7")
    return "\n".join(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("source")
    for seed in range(4):
        (out / f"file{seed}.py").write_text(source(1500, seed))
    (out / "notes.txt").write_text("skipped")
    return out


@pytest.fixture(scope="module")
def text(folder: Path) -> Words:
    return words_of(read_corpus(folder, seed=0), seed=0)


class Run(NamedTuple):
    status: int
    text: str
    folder: Path


@pytest.fixture(scope="module")
def demo(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("demo") / "made" / "here"
    with redirect_stdout(StringIO()) as printed:
        status = main(["demo", "--embeddings", str(folder), "--seconds", "0.2", "--out", str(out)])
    return Run(status, printed.getvalue(), out)


def wide(name: str, counts: np.ndarray) -> tuple[Objective, SkipGram]:
    """A loss and a model in float64 that is not at its start, for finite differences."""
    rng = np.random.default_rng(0)
    objective = Objective(name, counts, seed=0)
    model = SkipGram(objective.start, rng, dimensions=5)
    model.vectors, model.weight, model.bias = (p + rng.normal(0, 0.3, p.shape) for p in model.parameters)
    return objective, model


# The words


def test_only_words_are_left_and_frequent_ones_are_thinned_out(folder: Path, text: Words) -> None:
    corpus = read_corpus(folder, seed=0)
    assert {"+", "==", "7", "<unknown>"}.isdisjoint(text.vocabulary.pieces)
    assert set(text.vocabulary.pieces) == {f"{subject}{k}" for subject in "abcd" for k in range(60)}
    before = np.array([corpus.counts[corpus.vocabulary.numbers[word]] for word in text.vocabulary.pieces])
    assert text.counts.tolist() == np.bincount(text.train, minlength=240).tolist()
    assert (text.counts <= before).all()
    expected = np.sqrt(words.FREQUENT * before.sum() / before) * before
    assert len(text.train) == pytest.approx(expected.sum(), rel=0.02)


def test_rare_words_all_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "FREQUENT", 1.0)
    corpus = read_corpus(folder, seed=0)
    everything = words_of(corpus, seed=0)
    read = [corpus.vocabulary.pieces[k] for k in corpus.train]
    left = [everything.vocabulary.pieces[k] for k in everything.train]
    assert left == [piece for piece in read if piece.isidentifier()]


def test_pairs_stand_within_the_window_and_near_ones_come_up_more_often() -> None:
    centres, contexts = words.pairs(np.arange(1000), 20_000, np.random.default_rng(0))
    distances = np.abs(contexts - centres)
    assert distances.min() == 1
    assert distances.max() == WINDOW
    assert (contexts < centres).mean() == pytest.approx(0.5, abs=0.02)
    assert np.bincount(np.abs(OFFSETS))[1:].tolist() == [2 * n for n in range(WINDOW, 0, -1)]
    assert (np.diff(np.bincount(distances)[1:]) < 0).all()


def test_too_few_words_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("x = x + x\n" * 1000)
    with pytest.raises(UsageError, match="--embeddings: expected a folder with enough Python for 100 words"):
        words_of(read_corpus(tmp_path, seed=0), seed=0)


# The losses


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    counts = np.arange(30, 0, -1)
    objective, model = wide(name, counts)
    rng = np.random.default_rng(1)
    centres, contexts = rng.integers(0, 30, 12), rng.integers(0, 30, 12)
    centres[3:6] = 4  # a word that comes up many times: its gradients add up
    state = None if objective.sampler is None else objective.sampler.state

    def loss() -> float:
        if objective.sampler is not None and state is not None:
            objective.sampler.restore(state)  # the same noise each time
        return float(LOSSES[name](model.vectors[centres], model.weight, model.bias, contexts, objective.sampler))

    gradients = objective.step(model, centres, contexts)
    for parameter, gradient in zip(model.parameters, gradients, strict=True):
        whole = gradient.to_dense() if isinstance(gradient, xent.SparseRows) else gradient
        direction = rng.normal(size=parameter.shape)
        losses = []
        for step in (1e-6, -2e-6):
            parameter += step * direction
            losses.append(loss())
        parameter += 1e-6 * direction
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(float((whole * direction).sum()), rel=1e-5)


@pytest.mark.parametrize("name", SAMPLED_LOSSES)
def test_a_step_changes_the_lines_that_were_used_and_no_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skip_gram, "SAMPLED", 6)
    objective, model = wide(name, np.arange(50, 0, -1))
    centres, contexts = np.array([3, 3, 49]), np.array([7, 48, 7])
    assert objective.sampler is not None
    state = objective.sampler.state
    drawn = objective.sampler.sample(contexts).sampled_ids
    objective.sampler.restore(state)
    before = [parameter.copy() for parameter in model.parameters]
    Adagrad(model.parameters, 0.1).step(objective.step(model, centres, contexts))
    for parameter, old, used in zip(model.parameters, before, (centres, *[[*contexts, *drawn]] * 2), strict=True):
        changed = (parameter != old).reshape(50, -1).any(1)
        assert np.flatnonzero(changed).tolist() == sorted(set(map(int, used)))


def test_with_one_noise_nce_and_negative_sampling_take_the_same_steps(text: Words) -> None:
    found = {}
    for name in (NCE, NEGATIVE):
        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(skip_gram.DISTORTIONS, name, 0.75)
            one = embeddings.learner(name, text, seed=0)
        for _ in range(5):
            one.adagrad.step(one.objective.step(one.model, *words.pairs(text.train, 64, one.rng)))
        found[name] = one.objective.validation(one.model, *words.pairs(text.held_out, 500, np.random.default_rng(0)))
    assert found[NCE] == pytest.approx(found[NEGATIVE], rel=1e-4)


def test_adagrad_takes_a_sparse_gradient_as_the_dense_one_that_it_stands_for() -> None:
    rng = np.random.default_rng(0)
    sparse, dense = np.ones((6, 2)), np.ones((6, 2))
    one, other = Adagrad([sparse], 0.5), Adagrad([dense], 0.5)
    for _ in range(3):
        gradient = xent.SparseRows(np.array([4, 1, 4, 0]), rng.normal(size=(4, 2)), 6)
        one.step([gradient])
        other.step([gradient.to_dense()])
    assert sparse == pytest.approx(dense, rel=1e-12)
    assert (sparse[[2, 3, 5]] == 1).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_validation_loss_is_that_of_the_dense_definition(name: str) -> None:
    counts = np.arange(30, 0, -1)
    objective, model = wide(name, counts)
    rng = np.random.default_rng(1)
    centres, contexts = rng.integers(0, 30, 40), rng.integers(0, 30, 40)
    logits = model.vectors[centres] @ model.weight.T + model.bias
    if name == NEGATIVE:  # the words that noise is made of, by their shares, which start from counts + 1
        noise = (counts + 1.0) ** 0.75
        logits = logits + np.log(noise / noise.sum())
    dense = np.log(np.exp(logits).sum(1)) - logits[np.arange(40), contexts]
    assert objective.validation(model, centres, contexts) == pytest.approx(dense.mean(), rel=1e-6)


def test_all_start_from_the_frequencies_and_from_the_same_vectors(text: Words) -> None:
    learners = [embeddings.learner(name, text, seed=3) for name in LOSSES]
    validation = words.pairs(text.held_out, 500, np.random.default_rng(0))
    shares = (text.counts + 1) / (text.counts + 1).sum()
    for one in learners:
        one.round(text, 0.0, validation)
        assert one.losses == [pytest.approx(-np.log(shares[validation[1]]).mean(), rel=1e-5)]
        assert (one.model.vectors == learners[0].model.vectors).all()
        assert one.seconds == [0.0]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_learns_what_stands_together(name: str, text: Words) -> None:
    one = embeddings.learner(name, text, seed=0)
    validation = words.pairs(text.held_out, 500, np.random.default_rng(0))
    start = one.objective.validation(one.model, *validation)
    for _ in range(60):
        one.adagrad.step(one.objective.step(one.model, *words.pairs(text.train, embeddings.BATCH, one.rng)))
    # Lines of one subject follow each other at random, so neighbours tell most, though not all, of log 4.
    assert one.objective.validation(one.model, *validation) < start - 0.2
    near = [
        word
        for of in range(0, 240, 12)
        for word in embeddings.neighbours(one.model, text, of, 3)
        if word[0] == text.vocabulary.pieces[of][0]
    ]
    assert len(near) > 0.8 * 20 * 3


def test_time_is_counted_without_validation_and_shared_alike(text: Words) -> None:
    found = embeddings.train_all(text, 0.1, seed=0, progress=silent)
    assert [one.name for one in found] == list(LOSSES)
    for one in found:
        assert len(one.losses) == len(one.seconds) == len(one.steps) == embeddings.ROUNDS + 1
        assert one.seconds == sorted(one.seconds)
        assert one.seconds[-1] >= 0.1
        assert one.steps[0] == 0 < one.steps[-1]


def test_neighbours_are_those_at_the_smallest_angles() -> None:
    model = SkipGram(np.zeros(5), np.random.default_rng(0), dimensions=2)
    model.vectors = np.array([[1, 0], [9, 1], [1, 1], [-1, 0], [1, 0.01]], np.float32)
    counts = np.array([500, 400, 300, 200, embeddings.FAMILIAR - 1])
    text = Words(Vocabulary(tuple("abcde")), np.arange(5), np.arange(5), counts)
    assert embeddings.neighbours(model, text, 0, 3) == ["b", "c", "d"]
    assert embeddings.examples(text, 2) == [0, 1]  # none of the words to look up is known here


# The whole command


def test_the_demo_prints_its_results_in_80_columns(demo: Run) -> None:
    assert demo.status == 0
    for expected in (*LOSSES, "validation", "a step", "by frequency alone", "not comparable", "log q", "Nearest words"):
        assert expected in demo.text
    assert f"{embeddings.ROUNDS}/{embeddings.ROUNDS}" in demo.text
    assert "\x1b" not in demo.text
    # a line that the table was too narrow for would have been broken elsewhere
    assert f"\non {embeddings.VALIDATION:,} held-out pairs. The sampled losses' own values are " in demo.text
    shown, _, plots = demo.text.partition("Plots:\n")
    assert max(map(len, shown.splitlines()[1:])) <= 80  # the first names the folder, unbroken
    assert plots == f"  {demo.folder / 'word-vectors.png'}\n"
    assert [path.name for path in demo.folder.iterdir()] == ["word-vectors.png"]
    assert (demo.folder / "word-vectors.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--embeddings", "--text"], "argument --text: not allowed with argument --embeddings"),
        (["--embeddings", "nowhere"], f"--embeddings: expected a folder with at least {FEWEST_PIECES} words and signs"),
        (["--embeddings", "--seconds", "0"], "--seconds: expected a positive number, got '0'"),
        (["--embeddings", "--seconds", "soon"], "--seconds: expected a positive number, got 'soon'"),
        (["--embeddings", "--seconds", "inf"], "--seconds: expected a positive number, got 'inf'"),
        (["--embeddings", "--steps", "3"], "--steps: expected to go with --text, got --embeddings"),
        (["--embeddings", "--epochs", "3"], "--epochs: expected to go without --embeddings, got both"),
        (["--seconds", "3"], "--seconds: expected to go with --embeddings, got it alone"),
        (["--text", "--seconds", "3"], "--seconds: expected to go with --embeddings, got --text"),
    ],
)
def test_wrong_arguments_give_one_line_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_quiet_prints_only_results_and_needs_no_framework(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from xent.cli import main; "
        f"status = main(['demo', '--embeddings', {str(folder)!r}, '--seconds', '0.05', '--quiet']); "
        "print(status, {'torch', 'sklearn', 'xent.bench'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("Word vectors (skip-gram)")
    assert f"{embeddings.ROUNDS}/{embeddings.ROUNDS}" not in done.stdout
    assert done.stdout.endswith("\n0 set()\n")
