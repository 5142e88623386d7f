"""Attention whose derivative has a derivative."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.backends import cuda, mha


@contextmanager
def plain_attention() -> Iterator[None]:
    """Within, attention runs as matrix products and a softmax; the fused kernels cannot be differentiated twice.

    The library does so wherever an inner loop may be differentiated through. It is for learners of one's own that
    differentiate by hand.

    Example:
        >>> from torch.nn import functional as F
        >>> x = torch.rand(1, 1, 3, 4, requires_grad=True)
        >>> with plain_attention():
        ...     y = F.scaled_dot_product_attention(x, x, x).sum()
        >>> (slope,) = torch.autograd.grad(y, x, create_graph=True)
        >>> torch.autograd.grad(slope.sum(), x)[0].shape
        torch.Size([1, 1, 3, 4])
    """
    kernels = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled())
    fast = mha.get_fastpath_enabled()
    _choose(False, False, False, False)
    try:
        yield
    finally:
        _choose(*kernels, fast)


def _choose(flash: bool, efficient: bool, cudnn: bool, fast: bool) -> None:
    cuda.enable_flash_sdp(flash)
    cuda.enable_mem_efficient_sdp(efficient)
    cuda.enable_cudnn_sdp(cudnn)
    mha.set_fastpath_enabled(fast)
