"""The command line and `xent demo`: exit statuses, results, reproducibility, plots."""

from __future__ import annotations

import struct
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

import xent
from xent.cli import main
from xent.demo import binary, regression
from xent.demo.curves import binary_curves
from xent.demo.data import TEST_IMAGES_PER_DIGIT, Digits, keep_few, load_digits, load_tumours, rank_in_class
from xent.demo.digits import RARE, Training, Trainings, balancing_weights, entropy, train_all
from xent.demo.metrics import binary_score, calibration_error, score
from xent.demo.model import Classifier

EPOCHS = 15  # the default


def silent(name: str, done: int, total: int, loss: float) -> None:
    """A progress that nobody sees."""


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits(seed=0)


@pytest.fixture(scope="module")
def trainings(digits: Digits) -> Trainings:
    return train_all(digits, EPOCHS, seed=0, progress=silent)


class Run(NamedTuple):
    status: int
    text: str
    folder: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo") / "made" / "here"
    with redirect_stdout(StringIO()) as text:
        status = main(["demo", "--epochs", "2", "--out", str(folder)])
    return Run(status, text.getvalue(), folder)


def python(code: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)


# The command line


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"xent {xent.__version__}\n"


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "demo" in text
    assert "bench" in text


def test_help_of_the_demo_names_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--seed", "--epochs", "--out", "--quiet"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["demo", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["demo", "--epochs", "0"], "--epochs: expected an integer of at least 1, got '0'"),
        (["demo", "--epochs", "many"], "--epochs: expected an integer of at least 1, got 'many'"),
        (["demo", "--seed", "-1"], "--seed: expected an integer of at least 0, got '-1'"),
    ],
)
def test_wrong_arguments_give_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert words in output.err
    assert output.err.count("\n") == 1


def test_an_unusable_folder_gives_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    assert main(["demo", "--out", str(file)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert f"--out: expected a folder to write to, got {file}" in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("package", ["sklearn", "matplotlib", "rich"])
def test_a_missing_package_gives_one_line_and_status_2(package: str, tmp_path: Path) -> None:
    done = python(
        f"import sys; sys.modules[{package!r}] = None; from xent.cli import main; sys.exit(main(['demo']))", tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"xent demo: the Python package {package!r} is not installed.")
    assert done.stderr.endswith('pip install "xent[demo]"\n')
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_imports_no_command_that_was_not_chosen() -> None:
    done = python(
        "import sys; from xent.cli import main; main(['--version']); "
        "print(sorted({'matplotlib', 'rich', 'sklearn', 'torch', 'xent.bench', 'xent.demo'} & set(sys.modules)))"
    )
    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr


def test_the_demo_needs_neither_torch_nor_the_benchmarks(tmp_path: Path) -> None:
    done = python(
        "import sys; from xent.cli import main; status = main(['demo', '--epochs', '1', '--quiet']); "
        "print(status, {'torch', 'xent.bench'} & set(sys.modules))",
        tmp_path,
    )
    assert done.stderr == ""
    assert done.stdout.endswith("\n0 set()\n")
    assert [p.name for p in tmp_path.iterdir()] == ["demo-output"]


# The whole demo


def test_the_demo_prints_its_results_in_80_columns(demo: Run) -> None:
    assert demo.status == 0
    for words in (
        "index labels",
        "label smoothing 0.1",
        "soft labels",
        "imbalanced, weighted",
        "pos_weight",
        "over=1, under=10",
    ):
        assert words in demo.text
    results, _, plots = demo.text.partition("Plots:\n")
    assert max(map(len, results.splitlines())) <= 80
    assert "\x1b" not in demo.text  # no colours where there is no terminal
    assert [Path(line.strip()) for line in plots.splitlines()] == [
        demo.folder / f"{name}.png"
        for name in ("loss-curves", "binary-loss", "class-weights", "positive-weight", "asymmetric-cost")
    ]


def test_the_plots_are_png_files_of_a_legible_size(demo: Run) -> None:
    paths = sorted(demo.folder.iterdir())
    assert len(paths) == 5
    for path in paths:
        content = path.read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert content.endswith(b"IEND\xaeB`\x82")
        assert 1200 <= width <= 2400, path
        assert 600 <= height <= 1200, path
        assert 20_000 <= len(content) <= 500_000, path


def test_quiet_prints_only_results(demo: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--epochs", "1", "--quiet", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Digits: test scores")
    assert "2/2    loss" in demo.text
    assert "1/1    loss" not in text


# The digits


def test_the_test_set_is_balanced_and_shares_no_image_with_training(digits: Digits) -> None:
    assert np.bincount(digits.test_labels).tolist() == [TEST_IMAGES_PER_DIGIT] * 10
    assert len(digits.images) + len(digits.test_images) == 1797
    assert digits.images.dtype == np.float32
    assert digits.images.min() == 0
    assert digits.images.max() == 1


def test_every_way_to_label_all_images_learns_the_digits(trainings: Trainings) -> None:
    for training in (trainings.index_labels, trainings.smoothed, trainings.soft_labels):
        assert training.scores.accuracy > 0.93, training.name
        assert training.scores.accuracy == pytest.approx(training.scores.recall.mean())


def test_losses_fall_and_respect_the_entropy_of_the_targets(trainings: Trainings) -> None:
    for training in trainings.all():
        assert len(training.train_losses) == len(training.test_losses) == EPOCHS
        assert training.train_losses[-1] < training.train_losses[0] / 2, training.name
        assert training.test_losses[-1] < training.test_losses[0] / 2, training.name
        assert training.train_losses[-1] > training.floor, training.name
    assert trainings.index_labels.floor == 0
    assert trainings.smoothed.floor == pytest.approx(-0.91 * np.log(0.91) - 9 * 0.01 * np.log(0.01))
    assert trainings.soft_labels.train_losses[-1] == pytest.approx(trainings.soft_labels.floor, rel=0.05)


def test_label_smoothing_lowers_confidence(digits: Digits, trainings: Trainings) -> None:
    def confidence(training: Training) -> float:
        return float(xent.softmax(training.model.logits(digits.test_images)).max(1).mean())

    assert confidence(trainings.smoothed) < confidence(trainings.index_labels) - 0.05
    assert trainings.smoothed.scores.calibration_error > trainings.index_labels.scores.calibration_error


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_class_weights_raise_the_recall_of_rare_digits(seed: int, trainings: Trainings) -> None:
    if seed != 0:
        trainings = train_all(load_digits(seed), EPOCHS, seed, silent)
    assert trainings.images_per_digit[list(RARE)].tolist() == [6, 6, 6]
    assert trainings.imbalanced.rare_recall < trainings.index_labels.rare_recall - 0.3
    assert trainings.weighted.rare_recall > trainings.imbalanced.rare_recall + 0.1
    assert trainings.weighted.scores.accuracy > trainings.imbalanced.scores.accuracy
    assert trainings.weighted.scores.loss < trainings.imbalanced.scores.loss


def test_one_seed_gives_identical_numbers(digits: Digits) -> None:
    first, second = (train_all(load_digits(seed=0), 2, seed=0, progress=silent) for _ in range(2))
    other = train_all(digits, 2, seed=1, progress=silent)
    for a, b, c in zip(first.all(), second.all(), other.all(), strict=True):
        assert a.train_losses == b.train_losses != c.train_losses
        assert a.test_losses == b.test_losses != c.test_losses
        assert a.scores.accuracy == b.scores.accuracy
        assert a.scores.recall.tolist() == b.scores.recall.tolist()
        assert a.scores.calibration_error == b.scores.calibration_error


def test_backpropagation_agrees_with_finite_differences() -> None:
    rng = np.random.default_rng(0)
    model = Classifier(5, 4, 3, rng)
    model.w1, model.b1, model.w2, model.b2 = (p + rng.normal(0, 0.1, p.shape) for p in model.parameters)  # float64
    x, labels = rng.normal(size=(7, 5)), rng.integers(0, 3, 7)
    hidden = model.hidden(x)
    _, d_logits = xent.value_and_grad(xent.softmax_cross_entropy)(model.logits_from(hidden), labels)
    for parameter, gradient in zip(model.parameters, model.gradients(x, hidden, d_logits), strict=True):
        direction = rng.normal(size=parameter.shape)
        losses = []
        for step in (1e-6, -2e-6):
            parameter += step * direction
            losses.append(float(xent.softmax_cross_entropy(model.logits(x), labels)))
        parameter += 1e-6 * direction
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-6)


def test_few_images_are_kept_of_rare_classes_only() -> None:
    labels = np.array([0] * 40 + [1] * 40)
    assert rank_in_class(np.array([7, 4, 7, 7, 4])).tolist() == [0, 0, 1, 2, 1]
    assert np.flatnonzero(~keep_few(labels, rare=(1,), fraction=0.05)).tolist() == list(range(42, 80))


def test_balancing_weights_give_every_class_the_same_total() -> None:
    counts = np.array([50, 5, 0, 25])
    assert (balancing_weights(counts) * counts).tolist() == [20, 20, 0, 20]


def test_scores_by_hand() -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]))
    scores = score(logits, np.array([0, 1, 1]))
    assert scores.accuracy == pytest.approx(2 / 3)
    assert scores.recall.tolist() == [1, 0.5]
    assert scores.loss == pytest.approx(-np.log([0.9, 0.2, 0.7]).mean())
    assert calibration_error(np.array([0.91, 0.93, 1.0]), np.array([True, False, True])) == pytest.approx(0.84 / 3)


def test_entropy_by_hand() -> None:
    half_sure = np.eye(10)[[3, 3]] / 2 + np.eye(10)[[3, 4]] / 2
    assert entropy(half_sure) == pytest.approx(np.log(2) / 2)
    assert entropy(np.array([3, 4])) == 0


# Tumours


def test_half_of_each_kind_of_tumour_is_held_out() -> None:
    tumours = load_tumours(seed=0)
    assert (len(tumours.malignant), tumours.malignant.sum()) == (285, 106)
    assert (len(tumours.test_malignant), tumours.test_malignant.sum()) == (284, 106)
    assert tumours.features.mean(0) == pytest.approx([0, 0], abs=1e-12)
    assert tumours.features.std(0) == pytest.approx([1, 1])
    measured = np.concatenate((tumours.features, tumours.test_features)) * tumours.scale + tumours.mean
    assert (len(measured), measured.mean(0)) == (569, pytest.approx([14.127, 19.290], abs=1e-3))  # the data's own means
    malignant = np.concatenate((tumours.malignant, tumours.test_malignant))
    assert measured[malignant, 0].mean() > measured[~malignant, 0].mean() + 5


@pytest.mark.parametrize("seed", range(6))
def test_a_weight_of_the_positives_above_1_raises_recall_and_below_1_precision(seed: int) -> None:
    detectors = binary.detect_all(load_tumours(seed), silent)
    assert [d.pos_weight for d in detectors] == [0.1, 0.2, 0.5, 1, 2, 5, 10]
    recall = np.array([d.scores.recall for d in detectors])
    assert (np.diff(recall) >= 0).all(), recall
    low, plain, high = (detectors[at].scores for at in (0, 3, 6))
    assert low.recall + 0.1 < plain.recall < high.recall - 0.05
    assert low.precision - 0.05 > plain.precision > high.precision + 0.1
    assert plain.accuracy > 0.85
    assert plain.accuracy > max(low.accuracy, high.accuracy)


@pytest.mark.parametrize("pos_weight", [0.1, 1.0, 10.0])
def test_a_detector_is_the_minimum_of_its_weighted_loss(pos_weight: float) -> None:
    tumours = load_tumours(seed=0)
    x, y = tumours.features, tumours.malignant

    def loss(parameters: np.ndarray) -> float:
        z = x @ parameters[:2] + parameters[2]
        return float(np.where(y, pos_weight * np.logaddexp(0, -z), np.logaddexp(0, z)).mean())

    exact = minimize(loss, np.zeros(3), tol=1e-10)
    detector = binary.detect(tumours, pos_weight, silent)
    assert detector.losses[0] == pytest.approx(loss(np.zeros(3)))
    fitted = np.array([*detector.weights, detector.bias])
    assert loss(fitted) == pytest.approx(exact.fun, rel=1e-4)
    assert fitted == pytest.approx(exact.x, abs=0.05)


def test_one_seed_gives_identical_detectors() -> None:
    first, second, other = (binary.detect(load_tumours(seed), 2.0, silent) for seed in (0, 0, 1))
    assert first.losses == second.losses != other.losses
    assert first.weights.tolist() == second.weights.tolist() != other.weights.tolist()
    assert first.scores == second.scores


def test_binary_scores_by_hand() -> None:
    scores = binary_score(np.array([2.0, 1.0, -1.0, 0.0, -3.0]), np.array([1, 0, 1, 1, 0]))
    assert (scores.recall, scores.precision, scores.accuracy) == (1 / 3, 1 / 2, 2 / 5)
    assert scores.loss == pytest.approx(np.logaddexp(0, [-2.0, 1.0, 1.0, 0.0, -3.0]).mean())
    nothing_found = binary_score(np.array([-1.0, -1.0]), np.array([1, 0]))
    assert nothing_found.recall == 0
    assert np.isnan(nothing_found.precision)


# Asymmetric cost


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_weights_exceed_1_where_too_low_is_dear_and_fall_below_where_too_high_is(seed: int) -> None:
    low_is_dear, high_is_dear = regression.fit_all(seed, silent)
    assert (low_is_dear.over, low_is_dear.under) == (1, 10)
    assert (high_is_dear.over, high_is_dear.under) == (10, 1)
    assert (low_is_dear.weights > 1).all()
    assert (high_is_dear.weights < 1).all()
    assert low_is_dear.share_over > 0.8
    assert high_is_dear.share_over < 0.2


@pytest.mark.parametrize(("over", "under"), regression.COSTS)
def test_the_fit_is_the_minimum_of_the_linear_programme(over: float, under: float) -> None:
    x, y = train = regression.sample(regression.TRAIN_POINTS, np.random.default_rng(0))
    fit = regression.fit(train, train, over, under, silent)
    # Minimise over·Σ h + under·Σ l subject to x·w - h + l = y with h, l not negative.
    n = len(y)
    exact = linprog(
        np.concatenate(([0, 0], np.full(n, over / n), np.full(n, under / n))),
        A_eq=np.hstack((x, -np.eye(n), np.eye(n))),
        b_eq=y,
        bounds=[(None, None)] * 2 + [(0, None)] * (2 * n),
    )
    assert exact.status == 0
    assert exact.fun <= fit.test_cost <= exact.fun * 1.001
    assert fit.weights == pytest.approx(exact.x[:2], abs=2e-3)


def test_one_seed_gives_identical_fits() -> None:
    first, second, other = regression.fit_all(0, silent), regression.fit_all(0, silent), regression.fit_all(1, silent)
    for a, b, c in zip(first, second, other, strict=True):
        assert a.weights.tolist() == b.weights.tolist() != c.weights.tolist()
        assert a.losses == b.losses
        assert a.errors.tolist() == b.errors.tolist()


# The curves


def test_the_curves_are_those_of_the_textbooks() -> None:
    c = binary_curves()
    np.testing.assert_allclose(c.positive_loss, -np.log(c.probabilities), rtol=1e-12)
    np.testing.assert_allclose(c.negative_loss, np.log1p(np.exp(c.scores)), rtol=1e-12)
    np.testing.assert_allclose(c.positive_loss, np.log1p(np.exp(-c.scores)), rtol=1e-12)
    np.testing.assert_allclose(c.probabilities, 1 / (1 + np.exp(-c.scores)), rtol=1e-12)
    even = c.scores == 0
    assert c.positive_loss[even] == c.negative_loss[even] == pytest.approx(np.log(2))
