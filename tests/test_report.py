"""The report: its numbers against scikit-learn's and SciPy's, its page as HTML, its command with bad input."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn import metrics
from sklearn.calibration import calibration_curve

import xent
from xent import cli, peak_memory
from xent.advisor.calibration import equal_mass, equal_width, fit_temperature
from xent.advisor.findings import Finding, Report
from xent.advisor.report import make_report, sigmoid
from xent.advisor.report import rows as rows_module
from xent.advisor.report import softmax as softmax_report
from xent.advisor.report.rows import sampled, sigmoid_rows, softmax_rows

FOUND = Report(
    (Finding("X43", "warning", "confidence <b>above</b> accuracy", "Fit a temperature:\nxent.choose()"),), 1, 1
)


def nothing_found(logits, labels, *, loss, **options):
    return Report((), len(logits), 3)


def some_logits(rows=400, classes=6, sharpness=2.0, seed=0, dtype=np.float32):
    """Logits that are `sharpness` times those that the labels were drawn from."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes)) * 1.5
    labels = np.array([random.choice(classes, p=p) for p in softmax(logits, axis=1)])
    return (sharpness * logits).astype(dtype), labels


def many_labels(rows=300, classes=5, sharpness=2.0, seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes)) * 1.5 - 1
    return (sharpness * logits).astype(np.float32), (random.random(logits.shape) < expit(logits)).astype(np.int64)


def measure(logits, labels, ignore_index=None):
    return softmax_report.measure(softmax_rows(logits, labels), ignore_index, lambda done, of: None)


def measure_many(logits, labels, ignore_index=None):
    return sigmoid.measure(sigmoid_rows(logits, labels), ignore_index, lambda done, of: None)


# Calibration


def by_hand(probabilities, outcomes, bins):
    """Expected calibration error, bin by bin; each bin holds its upper edge."""
    error = 0.0
    for k in range(bins):
        inside = (probabilities > k / bins) & (probabilities <= (k + 1) / bins)
        if k == 0:
            inside |= probabilities == 0
        if inside.any():
            error += inside.mean() * abs(outcomes[inside].mean() - probabilities[inside].mean())
    return error


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("seed", range(3))
def test_equal_width_is_the_formula(bins, seed):
    random = np.random.default_rng(seed)
    probabilities = np.concatenate([random.random(500) ** 0.3, [0.0, 1.0, 1.0]])
    outcomes = random.random(503) < probabilities**2
    found = equal_width(probabilities, outcomes, bins)
    np.testing.assert_allclose(found.error, by_hand(probabilities, outcomes, bins), rtol=1e-12)
    assert found.counts.sum() == 503
    observed, predicted = calibration_curve(outcomes, probabilities, n_bins=bins)
    np.testing.assert_allclose(found.observed[found.counts > 0], observed, rtol=1e-12)
    np.testing.assert_allclose(found.predicted[found.counts > 0], predicted, rtol=1e-12)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_equal_mass_is_the_formula(bins):
    random = np.random.default_rng(1)
    probabilities = random.random(407) ** 0.2
    outcomes = random.random(407) < probabilities
    found = equal_mass(probabilities, outcomes, bins)
    assert found.counts.max() - found.counts.min() <= 1
    order = np.argsort(probabilities)
    places = [order[np.arange(407) * bins // 407 == k] for k in range(bins)]
    gaps = [abs(outcomes[p].mean() - probabilities[p].mean()) * len(p) / 407 for p in places]
    np.testing.assert_allclose(found.error, sum(gaps), rtol=1e-12)
    assert (np.diff(found.edges) > 0).all()
    assert len(equal_mass(probabilities[:3], outcomes[:3]).counts) == 3


def test_empty_bins_and_no_predictions():
    found = equal_width(np.array([0.99]), np.array([True]))
    assert found.counts.tolist() == [0] * 14 + [1]
    assert np.isnan(found.observed[:14]).all()
    assert np.isnan(equal_width(np.array([]), np.array([])).error)
    assert np.isnan(equal_mass(np.array([]), np.array([])).error)


@pytest.mark.parametrize("function", [equal_width, equal_mass])
def test_what_is_no_probability_is_refused(function):
    with pytest.raises(ValueError, match=r"probabilities: expected numbers in \[0, 1\]"):
        function(np.array([0.5, np.nan]), np.array([True, True]))
    with pytest.raises(ValueError, match=r"outcomes: expected one for each of a row"):
        function(np.array([0.5]), np.array([True, True]))


@pytest.mark.parametrize("sharpness", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_the_temperature_minimises_the_loss(sharpness):
    logits, labels = some_logits(sharpness=sharpness, dtype=np.float64)

    def loss(log_temperature):
        z = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -z[np.arange(len(labels)), labels].mean()

    best = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded", options={"xatol": 1e-10})
    fit = measure(logits, labels).temperature
    np.testing.assert_allclose(fit.value, np.exp(best.x), rtol=1e-5)
    np.testing.assert_allclose(fit.before.loss, loss(0.0), rtol=1e-12)
    np.testing.assert_allclose(fit.after.loss, best.fun, rtol=1e-9)
    confidence = softmax(logits / fit.value, axis=1).max(axis=1)
    expected = by_hand(confidence, logits.argmax(axis=1) == labels, 15)
    np.testing.assert_allclose(fit.after.reliability.error, expected, rtol=1e-9)


def test_no_temperature_where_every_row_is_right_or_none_can_be():
    logits = np.eye(4)[np.arange(20) % 4]
    assert measure(logits, np.arange(20) % 4).temperature.value is None
    assert measure(-logits, np.arange(20) % 4).temperature.value is None
    with pytest.raises(ValueError, match="slope: expected a number, got NaN"):
        fit_temperature(lambda temperature: np.nan)


def test_the_temperature_of_soft_labels_of_any_mass():
    logits, _ = some_logits(dtype=np.float64)
    soft = softmax(logits / 2, axis=1) * np.linspace(0.5, 1.5, len(logits))[:, None]
    np.testing.assert_allclose(measure(logits, soft).temperature.value, 2.0, rtol=1e-5)


def test_the_temperature_of_many_labels():
    logits, labels = many_labels(sharpness=3.0)

    def loss(log_temperature):
        z = logits.astype(np.float64) / np.exp(log_temperature)
        return np.mean(np.logaddexp(0, z) - labels * z)

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    fit = measure_many(logits, labels).temperature
    np.testing.assert_allclose(fit.value, np.exp(best.x), rtol=1e-5)
    np.testing.assert_allclose((fit.before.loss, fit.after.loss), (loss(0.0), best.fun), rtol=1e-9)


# The measures


@pytest.mark.parametrize("block", [7, 2**20])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_measures_of_exclusive_classes(monkeypatch, block, dtype):
    monkeypatch.setattr(rows_module, "BLOCK_ELEMENTS", block)
    logits, labels = some_logits(dtype=dtype)
    found = measure(logits, labels)
    predicted, probabilities = logits.argmax(axis=1), softmax(logits.astype(np.float64), axis=1)
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    assert (found.rows, found.classes, found.counted, found.ignored, found.broken) == (400, 6, 400, 0, 0)
    np.testing.assert_allclose(found.loss, metrics.log_loss(labels, probabilities), rtol=tolerance)
    assert found.accuracy == metrics.accuracy_score(labels, predicted)
    precision, recall, _, support = metrics.precision_recall_fscore_support(labels, predicted, zero_division=np.nan)
    np.testing.assert_allclose(found.by_class.precision, precision)
    np.testing.assert_allclose(found.by_class.accuracy, recall)
    np.testing.assert_array_equal(found.by_class.counts, support)
    losses = -np.log(probabilities[np.arange(400), labels])
    expected = [losses[labels == k].mean() for k in range(6)]
    np.testing.assert_allclose(found.by_class.loss, expected, rtol=tolerance)
    np.testing.assert_array_equal(found.by_class.worst_first, np.argsort(expected)[::-1])
    np.testing.assert_array_equal(found.confusion.matrix, metrics.confusion_matrix(labels, predicted))
    np.testing.assert_allclose(found.probabilities, probabilities.max(axis=1), rtol=tolerance)
    np.testing.assert_array_equal(found.outcomes, predicted == labels)


def test_the_matrix_of_many_classes_shows_those_most_confused():
    labels = np.repeat(np.arange(40), 5)
    predicted = labels.copy()
    predicted[labels == 30] = 31
    predicted[np.flatnonzero(labels == 31)[:2]] = 7
    found = measure(np.eye(40)[predicted], labels).confusion
    assert found.pairs == [(30, 31, 5), (31, 7, 2)]
    assert found.shown.tolist() == [30, 31, 7]
    assert found.matrix.tolist() == [[0, 5, 0], [0, 3, 2], [0, 0, 5]]
    assert found.others.tolist() == [0, 0, 0]
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(2000, 40)), random.integers(0, 40, 2000)
    found = measure(logits, labels).confusion
    full = metrics.confusion_matrix(labels, logits.argmax(axis=1))
    assert len(found.shown) == 12
    np.testing.assert_array_equal(found.matrix, full[np.ix_(found.shown, found.shown)])
    np.testing.assert_array_equal(found.others, full[found.shown].sum(axis=1) - found.matrix.sum(axis=1))
    assert found.pairs[0][2] == np.where(np.eye(40, dtype=bool), 0, full).max()


def test_ignored_and_broken_rows_are_left_out():
    logits, labels = some_logits()
    expected = measure(logits[20:], labels[20:])
    labels[:12] = -100
    logits[:5] = np.nan
    logits[12:18, 0] = np.inf
    logits[18] = -np.inf
    logits[19, labels[19]] = -np.inf
    found = measure(logits, labels, ignore_index=-100)
    assert (found.counted, found.ignored, found.broken) == (380, 12, 8)
    np.testing.assert_allclose((found.loss, found.accuracy), (expected.loss, expected.accuracy), rtol=1e-12)
    np.testing.assert_allclose(found.temperature.value, expected.temperature.value, rtol=1e-12)
    with pytest.raises(ValueError, match="labels: expected a row that counts"):
        measure(logits[:12], labels[:12], ignore_index=-100)


def test_measures_of_soft_labels():
    logits, _ = some_logits()
    soft = softmax(np.random.default_rng(3).normal(size=logits.shape) * 3, axis=1)
    soft[0] = np.eye(6)[2]  # 0·log 0 is 0
    found = measure(logits, soft)
    np.testing.assert_allclose(found.loss, -(soft * log_softmax(logits, axis=1)).sum(axis=1).mean(), rtol=1e-6)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_allclose(found.floor, -np.nansum(soft * np.log(soft)) / 400, rtol=1e-12)
    assert found.accuracy == np.mean(soft.argmax(axis=1) == logits.argmax(axis=1))
    np.testing.assert_array_equal(found.outcomes, soft[np.arange(400), logits.argmax(axis=1)])


def test_soft_labels_that_the_logits_hit_are_calibrated():
    logits, _ = some_logits(dtype=np.float64)
    found = measure(logits, softmax(logits / 3, axis=1))
    np.testing.assert_allclose(found.temperature.value, 3.0, rtol=1e-5)
    assert found.temperature.before.reliability.error > 0.1
    assert found.temperature.after.reliability.error < 1e-5


@pytest.mark.parametrize("block", [7, 2**20])
def test_measures_of_many_labels(monkeypatch, block):
    monkeypatch.setattr(rows_module, "BLOCK_ELEMENTS", block)
    logits, labels = many_labels()
    found, raised = measure_many(logits, labels), logits > 0
    losses = np.logaddexp(0, logits) - labels * logits
    precision, recall, _, support = metrics.precision_recall_fscore_support(labels, raised, zero_division=np.nan)
    np.testing.assert_allclose(found.loss, losses.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.by_class.loss, losses.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.by_class.precision, precision)
    np.testing.assert_allclose(found.by_class.recall, recall)
    np.testing.assert_array_equal(found.by_class.counts, support)
    np.testing.assert_allclose(found.by_class.accuracy, (raised == labels).mean(axis=0))
    assert found.all_right == metrics.accuracy_score(labels, raised)
    np.testing.assert_allclose(found.probabilities, expit(logits.astype(np.float64)).ravel(), rtol=1e-12)
    missed, false = labels & ~raised, raised & ~labels.astype(bool)
    np.testing.assert_array_equal(
        found.confusion.matrix,
        np.where(np.eye(5, dtype=bool), np.diag((labels & raised).sum(axis=0)), missed.T @ false.astype(int)),
    )


def test_many_labels_that_are_ignored_or_broken():
    logits, labels = many_labels()
    expected = measure_many(logits[1:], labels[1:])
    logits[0, :3] = np.nan
    labels[0] = [-1, 1, 0, -1, -1]
    found = measure_many(logits, labels, ignore_index=-1)
    assert (found.ignored, found.broken) == (3, 2)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
    with pytest.raises(ValueError, match=r"labels: expected numbers in \[0, 1\], got -1 in row 0"):
        measure_many(logits, labels)


def test_lists_of_classes_are_many_labels():
    logits, labels = many_labels()
    lists = np.where(labels == 1, np.arange(5), -1)
    lists = np.sort(lists, axis=1)[:, ::-1][:, :4]  # one column less: four classes at most
    kept = labels.sum(axis=1) < 5
    found, expected = measure_many(logits[kept], lists[kept]), measure_many(logits[kept], labels[kept])
    assert found.loss == expected.loss
    assert found.by_class.counts.tolist() == expected.by_class.counts.tolist()
    lists[17, 0] = 5
    with pytest.raises(IndexError, match=r"labels: expected class indices in \[0, 5\), got label 5 in row"):
        measure_many(logits[kept], lists[kept])


def test_soft_labels_of_many_classes():
    logits, _ = many_labels()
    soft = np.random.default_rng(0).random(logits.shape)
    found = measure_many(logits, soft)
    np.testing.assert_allclose(found.floor, -np.mean(soft * np.log(soft) + (1 - soft) * np.log1p(-soft)), rtol=1e-12)
    assert found.accuracy == np.mean((soft >= 0.5) == (logits > 0))


def test_images_with_either_class_axis():
    logits, labels = some_logits(rows=4 * 3 * 7)
    expected = measure(logits, labels)
    last, labels = logits.reshape(4, 3, 7, 6), labels.reshape(4, 3, 7)
    for found in (measure(last, labels), measure(np.moveaxis(last, -1, 1), labels)):
        assert (found.rows, found.loss, found.accuracy) == (84, expected.loss, expected.accuracy)


def test_labels_out_of_range_are_named_by_their_row(monkeypatch):
    monkeypatch.setattr(rows_module, "BLOCK_ELEMENTS", 60)
    logits, labels = some_logits()
    labels[[37, 200]] = 6
    with pytest.raises(IndexError, match=r"labels: expected class indices in \[0, 6\), got label 6 in row 37. Map"):
        measure(logits, labels)


def test_the_sample_is_even_and_the_same_every_time():
    assert sampled(10, 20).all()
    kept = sampled(100_000, 1000)
    assert np.count_nonzero(kept) == 1000
    np.testing.assert_array_equal(kept, sampled(100_000, 1000))
    assert 400 < np.count_nonzero(kept[:50_000]) < 600
    assert np.count_nonzero(sampled(10, 0)) == 1


def test_a_large_file_is_sampled_for_the_temperature(monkeypatch):
    monkeypatch.setattr(softmax_report, "SAMPLE_BYTES", 200 * 6 * 4)
    logits, labels = some_logits()
    found = measure(logits, labels)
    assert found.temperature.rows == 200
    assert found.counted == len(found.probabilities) == 400
    assert 1.5 < found.temperature.value < 2.7


# The page


class Page(HTMLParser):
    """What a page consists of; fails where tags do not close in order."""

    VOID = ("meta", "br", "link", "img", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.text, self.links = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        self.links += [value for name, value in attributes if name in ("href", "src", "action", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def pages():
    logits, labels = some_logits()
    wide, wide_labels = some_logits(rows=900, classes=150, seed=1)
    soft = softmax(logits, axis=1)
    many, truth = many_labels(classes=20)
    return {
        "few": (logits, labels, "softmax"),
        "wide": (wide, wide_labels, "softmax"),
        "soft": (logits, soft, "softmax"),
        "two": (logits[:, :2], labels % 2, "softmax"),
        "right": (np.eye(3, dtype=np.float32), np.arange(3), "softmax"),
        "one row": (logits[:1], labels[:1], "softmax"),
        "many": (many, truth, "sigmoid"),
        "many soft": (many, truth * 0.9, "sigmoid"),
        "one class": (many[:, :1], truth[:, :1], "sigmoid"),
    }


@pytest.fixture(params=pages(), scope="module")
def page(request):
    logits, labels, loss = pages()[request.param]
    return make_report(logits, labels, loss=loss, check=lambda *arrays, **options: FOUND)


def test_the_page_is_well_formed_and_alone(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert all(link.startswith("#") and link[1:] in parsed.ids for link in parsed.links)
    assert not re.search(r"url\((?!#)|@import|<script|https?://(?!www\.w3\.org)", page)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(parsed.ids)
    tags = [tag for tag, _ in parsed.tags]
    assert tags.count("h1") == 1
    assert [text for text in parsed.text if text.strip() in ("nan", "inf", "None")] == []
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]\b", page), "a colour that is not the page's"


def test_the_page_can_be_read_without_seeing_it(page):
    parsed = Page(page)
    for tag, attributes in parsed.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-labelledby"] in parsed.ids
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    alternatives = re.findall(r'<p id="figure-\w+" hidden>([^<]*)</p>', page)
    assert len(alternatives) == sum(tag == "svg" for tag, _ in parsed.tags)
    assert all(len(text) > 40 for text in alternatives)


def test_figures_name_their_axes(page):
    svgs = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(svgs) in (2, 3)
    for svg in svgs:
        words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
        assert any("robability" in word for word in words), words
        assert any(word.startswith(("Accuracy", "Share", "Rows", "Decisions")) for word in words), words


def test_the_page_says_what_is_measured():
    logits, labels = some_logits()
    names = [f"class <{k}>" for k in range(6)]
    text = "".join(Page(make_report(logits, labels, class_names=names, title="A & B", check=nothing_found)).text)
    found = measure(logits, labels)
    assert "A & B" in text
    assert f"{found.loss:#.4g}" in text
    assert f"{100 * found.accuracy:.1f}\u00a0%" in text
    assert f"{found.temperature.value:#.4g}" in text
    worst = names[found.by_class.worst_first[0]]
    assert text.index(worst) < min(text.index(name) for name in names if name != worst)
    assert "none of the rules of xent check applies" in text
    assert "Fitted and reported on the same rows" in text


def test_findings_are_shown_and_escaped():
    logits, labels = some_logits()
    seen = {}

    def check(*arrays, **options):
        seen.update(options)
        return FOUND

    page = make_report(logits, labels, ignore_index=-1, options={"sample_weight": 1}, check=check)
    assert "confidence &lt;b&gt;above&lt;/b&gt; accuracy" in page
    assert 'class="finding warning"' in page
    del seen["progress"]
    assert seen == {"loss": "softmax", "axis": 1, "ignore_index": -1, "sample_weight": 1}


def test_pages_of_the_same_arrays_are_the_same():
    logits, labels = some_logits()
    assert make_report(logits, labels, check=nothing_found) == make_report(logits, labels, check=nothing_found)


def test_what_does_not_belong_together_is_refused():
    logits, labels = some_logits()
    for wrong, error, match in (
        (labels[:, None], ValueError, r"labels: expected class indices of shape \(400,\) or soft labels"),
        (labels.astype(float), TypeError, "labels: expected integers as class indices, got float64"),
        (np.eye(6, dtype=int)[labels], ValueError, "for several classes a row use --loss sigmoid"),
    ):
        with pytest.raises(error, match=match):
            make_report(logits, wrong, check=nothing_found)
    with pytest.raises(
        ValueError, match=r"labels: expected a label a class, .* For one class a row use --loss softmax"
    ):
        make_report(logits, labels, loss="sigmoid", check=nothing_found)
    with pytest.raises(ValueError, match="class_names: expected 6 names, one a class, got 2"):
        make_report(logits, labels, class_names=["a", "b"], check=nothing_found)
    with pytest.raises(ValueError, match="loss: expected one of softmax, sigmoid, got 'hinge'"):
        make_report(logits, labels, loss="hinge", check=nothing_found)
    with pytest.raises(TypeError, match="logits: expected floats, got int64"):
        make_report(labels[:, None], labels, check=nothing_found)
    with pytest.raises(ValueError, match="logits: expected rows of classes"):
        make_report(logits[:, 0], labels, check=nothing_found)


# The command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logits, labels = some_logits()
    np.savez(tmp_path / "logits.npz", logits=logits, labels=labels, sample_weight=np.ones(400))
    return tmp_path


def test_the_command_writes_a_page(folder, capsys):
    (folder / "names.txt").write_text("\n".join("abcdef"))
    assert cli.main(["report", "logits.npz", "-o", "page.html", "--class-names", "names.txt", "--title", "Mine"]) == 0
    out, error = capsys.readouterr()
    assert re.fullmatch(r"Wrote page.html \(\d+ KiB\).\n", out)
    assert error == ""
    text = (folder / "page.html").read_text()
    assert "<h1>Mine</h1>" in text
    assert '<th scope="row">f</th>' in text
    assert sorted(path.name for path in folder.iterdir()) == ["logits.npz", "names.txt", "page.html"]


def test_labels_of_their_own_and_the_default_name(folder, capsys):
    logits, labels = many_labels()
    np.save("scores.npy", logits)
    np.save("truth.npy", labels)
    assert cli.main(["report", "scores.npy", "--labels", "truth.npy", "--loss", "sigmoid"]) == 0
    assert "Wrote report.html" in capsys.readouterr().out
    assert "independent classes, from scores.npy" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["none.npz"], "none.npz: expected a file that can be read, got No such file"),
        (["logits.npz", "--labels", "truth"], "labels called 'truth', got arrays called 'logits'"),
        (["logits.npz", "-o", "missing/page.html"], "missing/page.html: expected a file that can be written"),
        (["logits.npz", "-o", "."], "expected a file that can be written, got a folder"),
        (["logits.npz", "-o", "/dev/null"], "expected a file that can be written, got a device"),
        (["logits.npz", "--class-names", "none.txt"], "none.txt: expected a text file with the name of a class a line"),
        (["logits.npz", "--class-names", "logits.npz"], "expected a text file with the name of a class a line"),
        (["logits.npz", "--class-names", "two.txt"], "class_names: expected 6 names, one a class, got 2"),
        (["logits.npz", "--loss", "sigmoid"], "labels: expected a label a class"),
        (["wrong.npz"], r"labels: expected class indices in \[0, 6\), got label 6 in row 3"),
        (["logits.npz", "--loss", "hinge"], "invalid choice: 'hinge'"),
        (["logits.npz", "--ignore-index", "x"], "invalid int value: 'x'"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder, capsys, arguments, match):
    logits, labels = some_logits()
    labels[3] = 6
    np.savez("wrong.npz", logits=logits, labels=labels)
    (folder / "two.txt").write_text("a\nb\n")
    before = sorted(folder.iterdir())
    assert cli.main(["report", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert error.startswith("xent report: ")
    assert re.search(match, error), error
    assert sorted(folder.iterdir()) == before


def test_a_page_that_cannot_be_made_leaves_the_old_one(folder, monkeypatch, capsys):
    (folder / "report.html").write_text("old")

    def full(self, *arguments, **options):
        with open(self, "w") as file:
            file.write("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert cli.main(["report", "logits.npz"]) == 2
    assert "expected a file that can be written, got No space left on device" in capsys.readouterr().err
    assert (folder / "report.html").read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == ["logits.npz", "report.html"]


def test_progress_is_told_by_examples():
    logits, labels = some_logits()
    steps = []
    make_report(logits, labels, progress=lambda *step: steps.append(step))
    assert ("Measuring", 400, 400) in steps
    assert steps[-1][0] == "Checking"
    assert steps[-1][1] == steps[-1][2]


STREAM = """
import sys
import numpy as np
from xent import peak_memory
from xent.advisor.files import read_arrays
from xent.advisor.report import softmax
from xent.advisor.report.rows import softmax_rows
softmax.SAMPLE_BYTES = 2**20
def read(path, labels):
    arrays = read_arrays(path, {"labels": labels})
    softmax.measure(softmax_rows(arrays["logits"], arrays["labels"]), None, lambda done, of: None)
logits, labels, small = sys.argv[1:]
read(small, "labels")
print(peak_memory.added_by(lambda: read(logits, labels)))
"""


@pytest.mark.skipif(not peak_memory.measurable(), reason="this system does not count peak memory")
def test_a_large_file_is_streamed(tmp_path):
    """256 MiB of logits in less than a fifth of that."""
    rows, classes = 2**17, 1024
    np.lib.format.open_memmap(tmp_path / "logits.npy", "w+", np.float16, (rows, classes)).flush()
    np.save(tmp_path / "labels.npy", np.arange(rows) % classes)
    np.savez(tmp_path / "small.npz", logits=np.zeros((64, classes), np.float16), labels=np.zeros(64, int))
    (tmp_path / "stream.py").write_text(STREAM)
    paths = [str(tmp_path / name) for name in ("stream.py", "logits.npy", "labels.npy", "small.npz")]
    assert peak_memory.in_fresh_process(*paths) < rows * classes * 2 / 5


def test_the_loss_of_the_report_is_that_of_the_library():
    logits, labels = some_logits()
    assert measure(logits, labels).loss == pytest.approx(float(xent.softmax_cross_entropy(logits, labels)), rel=1e-6)


@pytest.mark.parametrize("form", ["lists", "images"])
def test_the_findings_are_those_of_xent_check(form):
    """Its own check understands what the report understands, and finds a planted fault in it."""
    logits, labels = many_labels(rows=84) if form == "lists" else some_logits(rows=84)
    if form == "lists":
        truth, loss = np.where(labels == 1, np.arange(5), -1)[:, :4], "sigmoid"
        probabilities = expit(logits)
    else:
        truth, loss = labels.reshape(4, 3, 7), "softmax"
        logits = np.moveaxis(logits.reshape(4, 3, 7, 6), -1, 1)
        probabilities = softmax(logits, axis=1)
    rules = {"lists": "X04", "images": "X01"}
    assert rules[form] not in make_report(logits, truth, loss=loss)
    assert f"{rules[form]} " in make_report(probabilities, truth, loss=loss)
