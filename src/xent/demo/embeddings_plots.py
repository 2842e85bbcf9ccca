"""The plot of `xent demo --embeddings`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from .embeddings import BATCH, Learner
from .figures import BLACK, BLUE, GREEN, VERMILION, label_axes, new_figure, write

STYLES = ((BLACK, "o"), (BLUE, "s"), (GREEN, "^"), (VERMILION, "D"))


def write_all(folder: Path, learners: Sequence[Learner]) -> list[Path]:
    """Draws the plot into the folder; the path of the file."""
    return write(folder, {"word-vectors.png": lambda: word_vectors(learners)})


def word_vectors(learners: Sequence[Learner]) -> Figure:
    """Validation loss by seconds of training, and by pairs learned from."""
    figure, (by_time, by_pairs) = new_figure(13, 4.8, columns=2)
    for one, (colour, marker) in zip(learners, STYLES, strict=True):
        look = {"color": colour, "marker": marker, "markersize": 5, "label": one.name}
        by_time.plot(one.seconds, one.losses, **look)
        by_pairs.plot([BATCH * steps for steps in one.steps[1:]], one.losses[1:], **look)
    for axes in (by_time, by_pairs):
        axes.axhline(learners[0].losses[0], color=BLACK, linestyle=":", linewidth=1.2)
    by_time.annotate(
        "by frequency alone",
        (by_time.get_xlim()[1], learners[0].losses[0]),
        (0, 4),
        textcoords="offset points",
        ha="right",
    )
    by_pairs.set_xscale("log")
    by_pairs.sharey(by_time)
    by_time.set_title("In the same time, sampling sees more of the text")
    by_pairs.set_title("The same losses, by how much of it was seen")
    label_axes(by_time, "seconds of training", "validation loss, full softmax (nats a pair)")
    label_axes(by_pairs, "pairs of words learned from (log scale)", "")
    by_time.legend()
    return figure
