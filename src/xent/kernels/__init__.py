"""Row statistics and their gradients: the reference on any array API, and the native kernels."""
