"""Samplers that go on where the last call with the same attributes ended, as TensorFlow's do in eager mode."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from ...sampling.sampler import Sampler

BOUND = 128
"""How many samplers are kept. The one longest out of use goes; its stream starts anew if it is asked for again."""

_kept: OrderedDict[Hashable, Sampler] = OrderedDict()
_lock = threading.Lock()


def sampler_of(key: Hashable, make: Callable[[], Sampler]) -> Sampler:
    """The sampler of these attributes; made where there is none, once for all threads."""
    with _lock:
        if key not in _kept:
            _kept[key] = make()
            if len(_kept) > BOUND:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return _kept[key]
