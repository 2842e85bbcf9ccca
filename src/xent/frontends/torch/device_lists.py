"""Lists of positive classes on a device."""

from __future__ import annotations

import torch
from torch import Tensor

from ...losses.elementwise import check_list_shapes
from .arrays import dtype_name


def marked_elements(
    classes: Tensor, starts: Tensor | None, logits: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The numbers of positive elements of `logits`, in C order, and a weight of each row, without looking at them.

    Rows with a class out of range, or twice, weigh NaN, and so do all if the offsets are none; other rows weigh 1. What
    names no element, or one again, is -1.

    Raises:
        ValueError: shapes or dtypes that do not fit.
    """
    dtypes = dtype_name(classes), "" if starts is None else dtype_name(starts)
    shapes = tuple(classes.shape), None if starts is None else tuple(starts.shape)
    rows, count = check_list_shapes(*shapes, dtypes, tuple(logits.shape))
    classes, device = classes.detach().long(), logits.device
    marks = torch.ones(rows + 1, dtype=dtype, device=device)  # the last one is nobody's
    padding = classes == -1
    if starts is None:
        row = torch.arange(rows, device=device).repeat_interleave(classes.shape[-1])
    else:
        starts, entry = starts.detach().long(), torch.arange(classes.shape[0], device=device)
        rising = (starts[0] == 0) & (starts[-1] == classes.shape[0]) & (starts.diff() >= 0).all()
        marks = torch.where(rising, marks, torch.nan)
        row = (torch.searchsorted(starts, entry, right=True) - 1).clamp(0, rows - 1)
        padding = torch.zeros_like(padding)
    classes, padding = classes.reshape(-1), padding.reshape(-1)
    outside = (classes < 0) | (classes >= count)
    elements = torch.where(outside, -1, row * count + classes).sort().values
    twice = (elements >= 0) & (elements == torch.cat([elements.new_full((1,), -1), elements[:-1]]))
    for bad, at in ((outside & ~padding, row), (twice, elements // count)):
        marks = marks.scatter(0, torch.where(bad, at, rows), torch.nan)
    return torch.where(twice, -1, elements), marks[:rows]
