"""One name for each function, however it was imported."""

from __future__ import annotations

# What a qualified name starts with, and what is written in its place. The first that fits counts.
PREFIXES = (
    ("torch.nn.functional.", "torch."),
    ("torch.nn.modules.loss.", "torch."),
    ("torch.nn.", "torch."),
    ("torch.special.", "torch."),
    ("tensorflow.compat.v1.keras.", "keras."),
    ("tensorflow.compat.v2.keras.", "keras."),
    ("tensorflow.compat.v1.math.", "tf1."),
    ("tensorflow.compat.v1.", "tf1."),
    ("tensorflow.compat.v2.", "tensorflow."),
    ("tensorflow.keras.", "keras."),
    ("tensorflow.math.", "tensorflow."),
    ("tf_keras.", "keras."),
    ("flax.linen.", "jax.nn."),
    ("flax.nnx.", "jax.nn."),
    ("optax.losses.", "optax."),
)
# Second names of keras, after its package's own have become "keras."
KERAS_MODELS = {"keras.models.Sequential": "keras.Sequential", "keras.models.Model": "keras.Model"}


def canonical(name: str) -> str:
    """The name under which the tables of this package know a function.

    >>> canonical("torch.nn.functional.softmax"), canonical("tensorflow.keras.models.Sequential")
    ('torch.softmax', 'keras.Sequential')
    """
    for prefix, short in PREFIXES:
        if name.startswith(prefix):
            name = short + name.removeprefix(prefix)
            break
    return KERAS_MODELS.get(name, name)
