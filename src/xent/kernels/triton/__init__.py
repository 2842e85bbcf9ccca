"""Kernels for GPUs, in Triton: statistics of rows, their merge, and the gradient, by the formulas of `native/row.h`.

They take tensors as objects with an address and a dtype, and import no framework. Nothing here allocates: whoever calls
brings the memory. With `TRITON_INTERPRET=1` in the environment they run on tensors of the CPU.
"""
