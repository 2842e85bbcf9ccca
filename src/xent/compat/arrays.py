"""Which framework's arrays a call is about, where any of several may decide."""

from __future__ import annotations

from typing import Any

from ..frontends import frontend_for


def namespace_of(*arrays: Any) -> Any:
    """The array functions of the framework that the arrays came from; of NumPy's where nothing else is among them."""
    found = None
    for array in arrays:
        if array is not None:
            namespace = frontend_for(array, "arrays").NAMESPACE
            if found is None or found is frontend_for(0.0).NAMESPACE:
                found = namespace
    return found
