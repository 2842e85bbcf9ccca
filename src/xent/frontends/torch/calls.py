"""Which class runs a call on which kernels. Triton is not imported before it is needed."""

from __future__ import annotations

from torch import Tensor

from .device import is_on_device
from .elementwise_call import ElementwiseCall
from .linear_calls import LinearSigmoidCall, LinearSoftmaxCall
from .softmax_call import SoftmaxCall


def kernels_of_operator(logits: Tensor) -> str | None:
    """The kernels that run an operator of a graph; a tracer's tensors have none."""
    return "triton" if is_on_device(logits) and logits.numel() else None


def softmax_call(kernels: str | None) -> type[SoftmaxCall]:
    if kernels != "triton":
        return SoftmaxCall
    from .device_softmax import DeviceSoftmaxCall

    return DeviceSoftmaxCall


def linear_softmax_call(kernels: str | None) -> type[LinearSoftmaxCall]:
    if kernels != "triton":
        return LinearSoftmaxCall
    from .device_linear import DeviceLinearSoftmaxCall

    return DeviceLinearSoftmaxCall


def elementwise_call(kernels: str | None) -> type[ElementwiseCall]:
    if kernels != "triton":
        return ElementwiseCall
    from .device_elementwise import DeviceElementwiseCall

    return DeviceElementwiseCall


def linear_sigmoid_call(kernels: str | None) -> type[LinearSigmoidCall]:
    if kernels != "triton":
        return LinearSigmoidCall
    from .device_linear_elementwise import DeviceLinearSigmoidCall

    return DeviceLinearSigmoidCall
