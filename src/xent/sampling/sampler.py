"""What all samplers share: drawing, and a state that can be read, saved and restored."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import message, type_error, value_error
from ..kernels.sampling import NativeSampler, Seeds, draw
from . import arguments


class Candidates(NamedTuple):
    """Returned by `sample`, in TensorFlow's order."""

    sampled_ids: NDArray[np.int64]
    """[num_sampled]: the classes drawn, in the order in which they were drawn."""
    true_expected_count: NDArray[Any]
    """The shape of true_classes: how often each true class is expected in a sample of this size."""
    sampled_expected_count: NDArray[Any]
    """[num_sampled]: how often each class drawn is expected in a sample of this size."""


class State(NamedTuple):
    """Where a sampler stands: plain numbers, to be saved in any way."""

    seeds: tuple[int, int]
    """The two seeds of the random stream."""
    calls: int
    """How many samples have been drawn: the place in the stream."""
    counts: NDArray[np.int32] | None = None
    """What has been learned, [range_max]; None for samplers that do not learn."""


Kind = TypeVar("Kind", bound="Sampler")


class Sampler:
    """Draws `num_sampled` classes out of `[0, range_max)`; made by its subclasses.

    A call takes the words of its own part of a random stream, so a sample depends on the seed and the number of the
    call alone: threads that share a sampler draw, together, what one thread would have drawn.
    """

    _native: NativeSampler
    _seeds: Seeds
    _learns: ClassVar[bool] = False

    def __init__(self, range_max: int, num_sampled: int, unique: bool, dtype: str) -> None:
        """The arguments that all have, checked; a subclass then sets the native sampler and its seeds."""
        self._range_max = range_max
        self._num_sampled = arguments.integer("num_sampled", num_sampled, 1, arguments.INT32_MAX)
        self._unique = arguments.flag("unique", unique)
        self._dtype = arguments.count_dtype(dtype)
        if self.unique:
            arguments.distinct(self.num_sampled, range_max, "classes")

    # The native sampler was made for these numbers, so they stay.

    @property
    def range_max(self) -> int:
        """The number of classes."""
        return self._range_max

    @property
    def num_sampled(self) -> int:
        """How many classes are drawn at a time."""
        return self._num_sampled

    @property
    def unique(self) -> bool:
        """Whether the classes of a sample are distinct."""
        return self._unique

    @property
    def dtype(self) -> str:
        """Of the expected counts."""
        return self._dtype

    def sample(self, true_classes: ArrayLike) -> Candidates:
        """Draws a sample.

        A class of probability p in one draw has the expected count `p·num_sampled`; with `unique=True`, where it took
        more tries than `num_sampled` to find distinct classes, `1 - (1 - p)^tries`. For distinct classes that is an
        estimate, good to about 1 / `num_sampled`; where nothing had to be drawn again, p·num_sampled may exceed 1.

        Args:
            true_classes: integers `[batch]` or `[batch, num_true]`, in `[0, range_max)`. They do not change
                what is drawn.

        Returns:
            `Candidates`: sampled ids (int64), and the expected counts of the true classes and of the sampled ones.

        Raises:
            TypeError: true classes that are not integers.
            ValueError: true classes of another rank.
            IndexError: a true class out of range.
            RuntimeError: 2^31 - 1 tries found too few distinct classes.
        """
        trues = arguments.true_classes(true_classes, self.range_max)
        drawn = draw(self._native, self.num_sampled, trues, self.dtype)
        if drawn is None:
            raise RuntimeError(
                message(
                    "num_sampled",
                    "distinct classes that 2147483647 tries can find",
                    f"{self.num_sampled} of a distribution that has some of them too rarely",
                    "Pass a smaller num_sampled, or unique=False.",
                )
            )
        return Candidates(*drawn)

    @property
    def state(self) -> State:
        """Where the sampler stands; `restore` leads back to it."""
        return State(self._seeds, self._native.calls)

    def restore(self, state: State) -> None:
        """Continues where another sampler, made with the same arguments, stood. No other thread may draw meanwhile.

        Args:
            state: what `state` was there, or the same numbers.

        Raises:
            TypeError: not such a tuple.
            ValueError: seeds or calls that are none, or counts that are not those of this sampler.
        """
        seeds, calls, counts = self._check(state)
        self._set(seeds, calls, counts)

    def _check(self, state: State) -> State:
        remedy = "Pass the `state` of a sampler made with the same arguments."
        try:
            (key, stream), calls, counts = state
        except (TypeError, ValueError):
            raise type_error("state", "a State", repr(type(state).__name__), remedy) from None
        if (counts is not None) is not self._learns:
            expected, got = ("counts", "None") if self._learns else ("no counts", "counts")
            raise value_error("state", expected, got, remedy)
        top = 2**64 - 1
        numbers = [arguments.integer("state", n, 0, top) for n in (key, stream, calls)]
        return State((numbers[0], numbers[1]), numbers[2], counts)

    def _set(self, seeds: Seeds, calls: int, counts: NDArray[np.int32] | None) -> None:
        self._seeds = seeds
        self._native.place(*seeds, calls)

    def _arguments(self) -> dict[str, Any]:
        """What makes the same sampler again, but for its state."""
        return {name: getattr(self, name) for name in ("range_max", "num_sampled", "unique", "dtype")}

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self._arguments(), self.state)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in ("range_max", "num_sampled", "unique", "dtype"))
        return f"{type(self).__name__}({shown})"


def _revive(kind: type[Kind], kind_arguments: dict[str, Any], state: State) -> Kind:
    sampler = kind(**kind_arguments)
    sampler.restore(state)
    return sampler
