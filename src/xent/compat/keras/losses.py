"""The classes of `keras.losses`, whose functions are exchanged for these; everything else is inherited."""

from __future__ import annotations

from typing import Any

import keras

from . import functional

_serializable = keras.saving.register_keras_serializable(package="xent")


@_serializable
class CategoricalCrossentropy(keras.losses.CategoricalCrossentropy):
    """`keras.losses.CategoricalCrossentropy`: of distributions, as `categorical_crossentropy`.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import CategoricalCrossentropy
        >>> loss = CategoricalCrossentropy(from_logits=True)
        >>> round(float(loss(np.array([[0.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 3.0]]))), 6)
        0.407606
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fn = functional.categorical_crossentropy


class _OfClassIds(keras.losses.Loss):
    """A loss whose labels are class ids, which `Loss.__call__` would round to the dtype of the loss."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        knowing = object.__new__(type(self))  # copy.copy would go through the configuration, which has no dtype
        knowing.__dict__.update(self.__dict__)
        knowing.call = lambda _, predictions: self.call(y_true, predictions)
        return super(_OfClassIds, knowing).__call__(y_pred, y_pred, sample_weight)


@_serializable
class SparseCategoricalCrossentropy(_OfClassIds, keras.losses.SparseCategoricalCrossentropy):
    """`keras.losses.SparseCategoricalCrossentropy`: of class ids, as `sparse_categorical_crossentropy`.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import SparseCategoricalCrossentropy
        >>> loss = SparseCategoricalCrossentropy(from_logits=True)
        >>> round(float(loss(np.array([2]), np.array([[1.0, 2.0, 3.0]]))), 6)
        0.407606
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fn = functional.sparse_categorical_crossentropy

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self._fn_kwargs["axis"]}  # which Keras forgets


@_serializable
class BinaryCrossentropy(keras.losses.BinaryCrossentropy):
    """`keras.losses.BinaryCrossentropy`, as `binary_crossentropy`.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import BinaryCrossentropy
        >>> loss = BinaryCrossentropy(from_logits=True)
        >>> round(float(loss(np.array([[1.0, 0.0]]), np.array([[2.0, -1.0]]))), 6)
        0.220095
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fn = functional.binary_crossentropy


@_serializable
class BinaryFocalCrossentropy(keras.losses.BinaryFocalCrossentropy):
    """`keras.losses.BinaryFocalCrossentropy`, as `binary_focal_crossentropy`.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import BinaryFocalCrossentropy
        >>> loss = BinaryFocalCrossentropy(from_logits=True)
        >>> round(float(loss(np.array([[1.0, 0.0]]), np.array([[2.0, -1.0]]))), 6)
        0.012231
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fn = functional.binary_focal_crossentropy


@_serializable
class CategoricalFocalCrossentropy(keras.losses.CategoricalFocalCrossentropy):
    """`keras.losses.CategoricalFocalCrossentropy`, as `categorical_focal_crossentropy`.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import CategoricalFocalCrossentropy
        >>> loss = CategoricalFocalCrossentropy(from_logits=True)
        >>> round(float(loss(np.array([[0.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 3.0]]))), 6)
        0.011419
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fn = functional.categorical_focal_crossentropy


@_serializable
class CategoricalGeneralizedCrossEntropy(_OfClassIds, keras.losses.CategoricalGeneralizedCrossEntropy):
    """`keras.losses.CategoricalGeneralizedCrossEntropy`, as `categorical_generalized_cross_entropy`.

    Example:
        >>> import numpy as np
        >>> from xent.compat.keras import CategoricalGeneralizedCrossEntropy
        >>> round(float(CategoricalGeneralizedCrossEntropy(q=0.5)(np.array([1]), np.array([[0.25, 0.75]]))), 6)
        0.267949
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fn = functional.categorical_generalized_cross_entropy

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.fn(y_true, y_pred, **self._fn_kwargs)
