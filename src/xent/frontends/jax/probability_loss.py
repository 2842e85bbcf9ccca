"""Losses of probabilities on JAX's arrays: as NumPy computes them where nothing is traced, else in JAX's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .. import numpy as on_numpy
from .. import probability_loss
from .arrays import NAMESPACE, is_readable, to_jax


def _loss(name: str) -> Callable[..., Any]:
    traced, readable = getattr(probability_loss, name), getattr(on_numpy, name)

    def loss(probs: Any, labels: Any, options: Any, **rest: Any) -> Any:
        given = [probs, labels, *rest.values()]
        if not all(is_readable(x) for x in given):
            return traced(NAMESPACE, probs, labels, options, **rest)
        arrays = {k: np.asarray(v) if isinstance(v, jax.Array) else v for k, v in rest.items()}
        return to_jax(readable(np.asarray(probs), np.asarray(labels), options, **arrays), probs)

    return loss


cross_entropy_from_probs = _loss("cross_entropy_from_probs")
binary_cross_entropy_from_probs = _loss("binary_cross_entropy_from_probs")
kl_divergence = _loss("kl_divergence")
