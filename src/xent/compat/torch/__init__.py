"""`torch.nn.functional` and `torch.nn`, their cross-entropy family: change the import, keep numbers and errors.

What torch accepts and xent's kernels do not (negative class weights, say), and whatever torch refuses, is left to
torch's own function: so the answer, or the exception, is torch's.
"""

from .functional import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    linear_cross_entropy,
    log_softmax,
    logsumexp,
    multilabel_soft_margin_loss,
    nll_loss,
    soft_margin_loss,
    softmax,
)
from .modules import (
    AdaptiveLogSoftmaxWithLoss,
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    KLDivLoss,
    LinearCrossEntropyLoss,
    MultiLabelSoftMarginLoss,
    NLLLoss,
    SoftMarginLoss,
)

__all__ = [
    "AdaptiveLogSoftmaxWithLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "KLDivLoss",
    "LinearCrossEntropyLoss",
    "MultiLabelSoftMarginLoss",
    "NLLLoss",
    "SoftMarginLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "kl_div",
    "linear_cross_entropy",
    "log_softmax",
    "logsumexp",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "soft_margin_loss",
    "softmax",
]
