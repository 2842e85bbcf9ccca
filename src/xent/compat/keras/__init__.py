"""`keras.losses`, its cross-entropy family, on Keras' TensorFlow, JAX and PyTorch backends.

The classes are Keras' own with the arithmetic exchanged: signatures, reductions, masks, sample weights, dtypes and
configurations stay what they are, and `model.compile` takes them. Where Keras is wrong, these are right:

- class ids never pass through the loss' dtype, where bfloat16 would merge 257 with 256;
- an id out of range is an error, or a NaN loss in a compiled step, on every backend;
- from logits nothing is clipped, so a loss above 16.1 and its gradient are what they are;
- label smoothing spreads over the classes of `axis`, not of the last axis;
- probabilities are normalised for sparse labels on every backend;
- a sparse loss keeps its axis when it is saved, and a saved function is found again, not Keras' of that name.

`KLDivergence` and `kl_divergence`, which have no logits, are Keras' own.
"""

from keras.losses import KLDivergence, kl_divergence

from .functional import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    sparse_categorical_crossentropy,
)
from .losses import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    SparseCategoricalCrossentropy,
)

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "KLDivergence",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "kl_divergence",
    "sparse_categorical_crossentropy",
]
