"""Cross-entropy losses and their gradients, from logits, on the arrays you have.

>>> import numpy as np, xent
>>> float(round(xent.softmax_cross_entropy(np.array([[1.0, 2.0, 3.0]]), np.array([2])), 6))
0.407606
"""

from .api import (
    clear_cache,
    get_num_threads,
    log_softmax,
    logsumexp,
    pinball_loss,
    set_num_threads,
    show_config,
    softmax,
    softmax_cross_entropy,
    value_and_grad,
)
from .labels import TopK
from .losses.softmax import Stats

__version__ = "0.1.0"

__all__ = [
    "Stats",
    "TopK",
    "clear_cache",
    "get_num_threads",
    "log_softmax",
    "logsumexp",
    "pinball_loss",
    "set_num_threads",
    "show_config",
    "softmax",
    "softmax_cross_entropy",
    "value_and_grad",
]
