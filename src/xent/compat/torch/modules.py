"""Modules of `torch.nn` on xent's kernels: torch's own classes with another forward, so that what is saved loads.

`torch.compile` and `torch.export` take them; `torch.jit.script`, which compiles their source, does not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import functional

BCELoss = nn.BCELoss
KLDivLoss = nn.KLDivLoss


class NLLLoss(nn.NLLLoss):
    """`torch.nn.NLLLoss` through `xent.compat.torch.nll_loss`, which does not overflow.

    Example:
        >>> import torch
        >>> from xent.compat.torch import NLLLoss
        >>> NLLLoss()(torch.tensor([[-1.5, -0.25]]), torch.tensor([1]))
        tensor(0.2500)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return functional.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` through `xent.compat.torch.cross_entropy`.

    Example:
        >>> import torch
        >>> from xent.compat.torch import CrossEntropyLoss
        >>> CrossEntropyLoss()(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2]))
        tensor(0.4076)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    """`torch.nn.BCEWithLogitsLoss` through `xent.compat.torch.binary_cross_entropy_with_logits`.

    Example:
        >>> import torch
        >>> from xent.compat.torch import BCEWithLogitsLoss
        >>> BCEWithLogitsLoss()(torch.tensor([0.0]), torch.tensor([1.0]))
        tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class SoftMarginLoss(nn.SoftMarginLoss):
    """`torch.nn.SoftMarginLoss` through `xent.compat.torch.soft_margin_loss`, which does not overflow.

    Example:
        >>> import torch
        >>> from xent.compat.torch import SoftMarginLoss
        >>> SoftMarginLoss()(torch.tensor([-200.0]), torch.tensor([1.0]))
        tensor(200.)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return functional.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(nn.MultiLabelSoftMarginLoss):
    """`torch.nn.MultiLabelSoftMarginLoss` through `xent.compat.torch.multilabel_soft_margin_loss`.

    Example:
        >>> import torch
        >>> from xent.compat.torch import MultiLabelSoftMarginLoss
        >>> MultiLabelSoftMarginLoss()(torch.zeros(1, 2), torch.ones(1, 2))
        tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return functional.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


class LinearCrossEntropyLoss(nn.LinearCrossEntropyLoss):
    """`torch.nn.LinearCrossEntropyLoss` through `xent.compat.torch.linear_cross_entropy`.

    Example:
        >>> import torch
        >>> from xent.compat.torch import LinearCrossEntropyLoss
        >>> LinearCrossEntropyLoss(2, 3)(torch.zeros(1, 2), torch.tensor([0])).detach()
        tensor(1.0986)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if self.out_features:
            return super().forward(input, target)
        return functional.linear_cross_entropy(
            input,
            self.linear.weight,
            target,
            linear_bias=self.linear.bias,
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )


class AdaptiveLogSoftmaxWithLoss(nn.AdaptiveLogSoftmaxWithLoss):
    """`torch.nn.AdaptiveLogSoftmaxWithLoss`; softmax and loss of the head and of each cluster are xent's.

    Rare classes share clusters of a smaller projection: `log p(y) = log p(cluster) + log p(y | cluster)`, or
    `log p(y)` for a class of the head.

    Example:
        >>> import torch
        >>> from xent.compat.torch import AdaptiveLogSoftmaxWithLoss
        >>> layer = AdaptiveLogSoftmaxWithLoss(4, 10, cutoffs=[3, 6], div_value=1.0)
        >>> output, loss = layer(torch.randn(5, 4), torch.tensor([0, 2, 4, 7, 9]))
        >>> output.shape, loss.shape
        (torch.Size([5]), torch.Size([]))

    Source: Grave et al. 2017, Efficient softmax approximation for GPUs (arXiv:1609.04309).
    """

    def forward(self, input_: Tensor, target_: Tensor) -> Any:
        batched = target_.ndim > 0
        if target_.dtype not in (torch.int64, torch.int32):
            return super().forward(input_, target_)  # torch's error
        if target_.ndim > 1 or input_.ndim != target_.ndim + 1 or (batched and len(input_) != len(target_)):
            return super().forward(input_, target_)  # torch's error
        input, target = (input_, target_.long()) if batched else (input_[None], target_[None].long())
        if not bool(((target >= 0) & (target < self.n_classes)).all()):
            return super().forward(input_, target_)  # torch's error
        head_target, rest = target.clone(), input.new_zeros(len(target))
        for cluster, (low, high) in enumerate(zip(self.cutoffs[:-1], self.cutoffs[1:], strict=True)):
            rows = ((target >= low) & (target < high)).nonzero()[:, 0]
            if not len(rows):
                continue
            head_target = head_target.index_fill(0, rows, self.shortlist_size + cluster)
            logits = self.tail[cluster](input[rows])
            rest = rest.index_copy(0, rows, functional.cross_entropy(logits, target[rows] - low, reduction="none"))
        losses = functional.cross_entropy(self.head(input), head_target, reduction="none") + rest
        output, loss = -losses, losses.mean()
        return nn.modules.adaptive._ASMoutput(output if batched else output[0], loss)
