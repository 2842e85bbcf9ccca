"""All answers, each declared once: an entry of `LEAVES` and a place in `tree` are what a new one needs."""

from __future__ import annotations

from ..recipe import Leaf
from . import exclusive, independent, many, regression

LEAVES: dict[str, Leaf] = {
    "index": exclusive.INDEX,
    "imbalanced": exclusive.IMBALANCED,
    "soft": exclusive.SOFT,
    "soft-large": many.SOFT_LARGE,
    "linear": many.LINEAR,
    "sampled": many.SAMPLED,
    "binary": independent.BINARY,
    "binary-imbalanced": independent.BINARY_IMBALANCED,
    "signed": independent.SIGNED,
    "multi-label": independent.SEVERAL,
    "multi-label-imbalanced": independent.SEVERAL_IMBALANCED,
    "multi-label-extreme": independent.EXTREME,
    "probabilities": exclusive.PROBABILITIES,
    "soft-probabilities": exclusive.SOFT_PROBABILITIES,
    "binary-probabilities": independent.BINARY_PROBABILITIES,
    "language-model": many.LANGUAGE_MODEL,
    "language-model-large": many.LANGUAGE_MODEL_LARGE,
    "segmentation": exclusive.SEGMENTATION,
    "segmentation-binary": independent.SEGMENTATION_BINARY,
    "segmentation-several": independent.SEGMENTATION_SEVERAL,
    "distillation": exclusive.DISTILLATION,
    "distillation-large": many.DISTILLATION_LARGE,
    "retrieval": many.RETRIEVAL,
    "embeddings": many.EMBEDDINGS,
    "scoring": many.SCORING,
    "regression": regression.REGRESSION,
}
