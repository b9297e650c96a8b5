"""Forward and backward pass by C++ kernels built on the machine."""

from pinntk.network.fused.kernel import Kernel, kernels
from pinntk.network.fused.source import NotFused

__all__ = ["Kernel", "NotFused", "kernels"]
