"""The rules, in the order of their numbers."""

from __future__ import annotations

from ..rule import Rule
from . import activations, keras_models, labels, logarithms, old_names, precision, training

RULES: tuple[Rule, ...] = (
    *activations.RULES,
    *logarithms.RULES,
    *keras_models.RULES,
    *old_names.RULES,
    *labels.RULES,
    *training.RULES,
    *precision.RULES,
)
