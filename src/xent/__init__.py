"""Cross-entropy losses and their gradients, from logits, on the arrays you have.

>>> import numpy as np, xent
>>> float(round(xent.softmax_cross_entropy(np.array([[1.0, 2.0, 3.0]]), np.array([2])), 6))
0.407606
"""

import importlib
import typing

from .api import (
    asymmetric_sigmoid_cross_entropy,
    binary_cross_entropy_from_probs,
    clear_cache,
    cross_entropy_from_probs,
    focal_cross_entropy,
    get_num_threads,
    kl_divergence,
    linear_sigmoid_cross_entropy,
    linear_softmax_cross_entropy,
    log_sigmoid,
    log_softmax,
    logistic_loss,
    logsumexp,
    pinball_loss,
    poly_cross_entropy,
    row_loss,
    selective_log_softmax,
    set_num_threads,
    show_config,
    sigmoid,
    sigmoid_cross_entropy,
    sigmoid_focal_cross_entropy,
    softmax,
    softmax_cross_entropy,
    value_and_grad,
)
from .heads import LowRank
from .labels import Positives, TopK
from .losses.softmax import Stats
from .sampled_losses import (
    in_batch_softmax_loss,
    nce_loss,
    negative_sampling_loss,
    rank_sampled_softmax_loss,
    sampled_softmax_loss,
)
from .sparse import SparseRows

if typing.TYPE_CHECKING:  # at run time when it is asked for, below
    from . import samplers as samplers
    from .advisor.check import check as check
    from .advisor.choose import choose as choose
    from .advisor.watch import watch as watch

__version__ = "0.1.0"

__all__ = [
    "LowRank",
    "Positives",
    "SparseRows",
    "Stats",
    "TopK",
    "asymmetric_sigmoid_cross_entropy",
    "binary_cross_entropy_from_probs",
    "check",
    "choose",
    "clear_cache",
    "cross_entropy_from_probs",
    "focal_cross_entropy",
    "get_num_threads",
    "in_batch_softmax_loss",
    "kl_divergence",
    "linear_sigmoid_cross_entropy",
    "linear_softmax_cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "logistic_loss",
    "logsumexp",
    "nce_loss",
    "negative_sampling_loss",
    "pinball_loss",
    "poly_cross_entropy",
    "rank_sampled_softmax_loss",
    "row_loss",
    "sampled_softmax_loss",
    "selective_log_softmax",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_focal_cross_entropy",
    "softmax",
    "softmax_cross_entropy",
    "value_and_grad",
    "watch",
]

# Names that are imported when they are asked for, and where they are; a module has its own name.
_LATER = {
    "check": ".advisor.check",
    "choose": ".advisor.choose",
    "compat": ".compat",
    "samplers": ".samplers",
    "watch": ".advisor.watch",
}


def __getattr__(name: str) -> typing.Any:
    if name in _LATER:
        module = importlib.import_module(_LATER[name], __name__)
        return getattr(module, name, module)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
