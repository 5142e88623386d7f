"""Convolution as a matrix product of patches, whose first and second derivative are matrix products too.

A kernel library prepares for the weights of each convolution anew, and for the weights of each task of a batch it has
grouped convolutions alone; both cost more than the arithmetic where images are few and small, as in an inner loop. Here
the numbers under the kernel are gathered into rows ``[N * H' * W', kh * kw * C]``, a block at a time, and the rest is
left to the matrix product, which under ``vmap`` is one for all tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from innerloop.core import batched

#: Bytes of patches at a time.
_CACHE = 600_000


class Geometry(NamedTuple):
    """Where a kernel stands: its size, stride and padding by height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


class _Places(NamedTuple):
    """What is read where, of some images whose pixels are numbered one after the other."""

    pixels: Tensor
    """The pixel under each place of the kernel, ``[N * H' * W' * kh * kw]``; one past the last is a zero."""
    readers: Tensor
    """The places that read a pixel, those of the first pixel first."""
    starts: Tensor
    """Where the readers of each pixel start, ``[N * H * W]``."""


@lru_cache(64)
def _places(images: int, height: int, width: int, geometry: Geometry, device: torch.device) -> _Places:
    (kh, kw), (sh, sw), (ph, pw) = geometry
    rows = torch.arange(0, height + 2 * ph - kh + 1, sh)[:, None] - ph + torch.arange(kh)
    columns = torch.arange(0, width + 2 * pw - kw + 1, sw)[:, None] - pw + torch.arange(kw)
    pixels = rows[:, None, :, None] * width + columns[None, :, None, :]
    within = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[None, :, None, :]
    total = images * height * width
    pixels = torch.where(within, pixels + (height * width * torch.arange(images)).view(-1, 1, 1, 1, 1), total).flatten()
    found, order = pixels.sort(stable=True)
    count = int((found < total).sum())
    starts = torch.searchsorted(found[:count].contiguous(), torch.arange(total))
    return _Places(*(part.to(device, torch.int32) for part in (pixels, order[:count], starts)))


class _Plan:
    """A convolution's patches in blocks that stay in the cache: of several tasks, or of some images of one."""

    def __init__(self, x: Tensor, kernels: Tensor, geometry: Geometry) -> None:
        self.tasks, self.images, self.height, self.width, self.channels = x.shape
        self.geometry, self.outputs = geometry, kernels.shape[1]
        (kh, kw), (sh, sw), (ph, pw) = geometry
        self.shape = ((self.height + 2 * ph - kh) // sh + 1, (self.width + 2 * pw - kw) // sw + 1)
        self.each, self.length = self.shape[0] * self.shape[1], kh * kw * self.channels
        room = max(1, _CACHE // max(1, self.each * self.length * x.element_size()))
        together = max(1, room // max(1, self.images))
        parts = -(-self.images // min(room, max(1, self.images)))
        edges = [self.images * part // parts for part in range(parts + 1)]
        #: First and last task, first and last image.
        self.blocks = [
            (task, min(task + together, self.tasks), start, stop)
            for task in range(0, self.tasks, together)
            for start, stop in pairwise(edges)
        ]

    def places(self, block: tuple[int, int, int, int], device: torch.device) -> _Places:
        images = (block[1] - block[0]) * (block[3] - block[2])
        return _places(images, self.height, self.width, self.geometry, device)

    def gathered(self, x: Tensor, block: tuple[int, int, int, int]) -> Tensor:
        """Pixels to patches, ``[t, n * H' * W', kh * kw * C]``."""
        first, last, start, stop = block
        pixels = x[first:last, start:stop].reshape(-1, self.channels)
        rows = torch.cat((pixels, pixels.new_zeros(1, self.channels)))
        return rows.index_select(0, self.places(block, x.device).pixels).view(last - first, -1, self.length)

    def scattered(self, patches: Tensor, block: tuple[int, int, int, int]) -> Tensor:
        """Patches added up by pixels, ``[t * n, H, W, C]``."""
        _, readers, starts = self.places(block, patches.device)
        rows = F.embedding_bag(readers, patches.view(-1, self.channels), starts, mode="sum")
        return rows.view(-1, self.height, self.width, self.channels)

    def part(self, rows: Tensor, block: tuple[int, int, int, int]) -> Tensor:
        """The block's rows of ``[T, N * H' * W', O]``."""
        first, last, start, stop = block
        return rows[first:last, start * self.each : stop * self.each]


def _forward(geometry: Geometry, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """The sum of images by kernels, each task's by its own."""
    plan = _Plan(*pairs[0], geometry)
    read = [(x, kernels.flatten(2).mT) for x, kernels in pairs]
    y = read[0][0].new_empty(plan.tasks, plan.images * plan.each, plan.outputs)
    for block in plan.blocks:
        out, (x, matrix) = plan.part(y, block), read[0]
        torch.bmm(plan.gathered(x, block), matrix[block[0] : block[1]], out=out)
        for x, matrix in read[1:]:
            out.baddbmm_(plan.gathered(x, block), matrix[block[0] : block[1]])
    return y.unflatten(1, (plan.images, *plan.shape))


def _by_inputs(g: Tensor, x: Tensor, kernels: Tensor, geometry: Geometry) -> Tensor:
    """The slope by the images."""
    plan = _Plan(x, kernels, geometry)
    g, matrix = g.flatten(1, 3), kernels.flatten(2)
    parts = [plan.scattered(plan.part(g, block) @ matrix[block[0] : block[1]], block) for block in plan.blocks]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(x.shape)


def _by_kernels(g: Tensor, x: Tensor, kernels: Tensor, geometry: Geometry) -> Tensor:
    """The slope by the kernels."""
    plan = _Plan(x, kernels, geometry)
    g = g.flatten(1, 3)
    out = x.new_empty(plan.tasks, plan.outputs, plan.length)
    for block in plan.blocks:
        whole = out[block[0] : block[1]]
        whole.baddbmm_(plan.part(g, block).mT, plan.gathered(x, block), beta=0 if block[2] == 0 else 1)
    return out.view(kernels.shape)


class _Convolution(torch.autograd.Function):
    """``[T, N, H, W, C]`` and ``[T, O, kh, kw, C]`` to ``[T, N, H', W', O]``, each task by kernels of its own."""

    @staticmethod
    def forward(x: Tensor, kernels: Tensor, geometry: Geometry) -> Tensor:
        return _forward(geometry, (x, kernels))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, kernels, ctx.geometry = inputs
        ctx.save_for_backward(x, kernels)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, kernels = ctx.saved_tensors
        return *_Slopes.apply(slopes[0], x, kernels, ctx.geometry, ctx.needs_input_grad[:2]), None

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        x, kernels, geometry = inputs
        x, kernels = (
            (t.unsqueeze(0).expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)).flatten(0, 1)
            for t, dim in zip((x, kernels), dims, strict=False)
        )
        return _Convolution.apply(x, kernels, geometry).unflatten(0, (info.batch_size, -1)), 0


class _Slopes(torch.autograd.Function):
    """The slopes of a convolution by its images and its kernels, where they are wanted."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, kernels: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        g = g.contiguous()
        ctx.geometry = geometry
        ctx.save_for_backward(g, x, kernels)
        ctx.set_materialize_grads(False)
        by_x = _by_inputs(g, x, kernels, geometry) if wanted[0] else None
        return by_x, _by_kernels(g, x, kernels, geometry) if wanted[1] else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        v, vk = slopes
        g, x, kernels = ctx.saved_tensors
        geometry, needs = ctx.geometry, ctx.needs_input_grad
        pairs: list[tuple[Tensor, Tensor]] = []
        if v is not None:
            pairs.append((v, kernels))
        if vk is not None:
            pairs.append((x, vk))
        by_g = _forward(geometry, *pairs) if pairs and needs[0] else None
        by_x = _by_inputs(g, x, vk, geometry) if vk is not None and needs[1] else None
        by_k = _by_kernels(g, v, kernels, geometry) if v is not None and needs[2] else None
        return by_g, by_x, by_k, None, None


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """A plain 2D convolution, ``[N, C, H, W] -> [N, O, H', W']``, channels-last in memory, differentiable twice.

    Example:
        >>> x, weight = torch.rand(2, 3, 8, 8), torch.rand(4, 3, 3, 3)
        >>> y = convolution(x, weight, None, Geometry((3, 3), (2, 2), (1, 1)))
        >>> torch.allclose(y, F.conv2d(x, weight, stride=2, padding=1), atol=1e-5)
        True
    """
    one = _Convolution.apply(x.permute(0, 2, 3, 1).unsqueeze(0), weight.permute(0, 2, 3, 1).unsqueeze(0), geometry)
    y = one.squeeze(0)
    return (y if bias is None else y + bias).permute(0, 3, 1, 2)


class _Instead(TorchFunctionMode):
    """Runs plain 2D convolutions of floating-point numbers as matrix products, and all else as it is."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.conv2d and not kwargs and by_patches():
            given: tuple[Any, ...] = (*args, *(None, 1, 0, 1, 1)[len(args) - 2 :])
            x, weight, bias, stride, padding, dilation, groups = given
            if x.ndim == 4 and groups == 1 and _pair(dilation) == (1, 1) and not isinstance(padding, str):
                geometry = Geometry(tuple(weight.shape[2:]), _pair(stride), _pair(padding))
                return convolution(x, weight, bias, geometry)
        if func is F.group_norm and by_patches():
            return _by_groups(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _by_groups(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Group norm by plain operations: its kernel asks for the layout, which cannot be told under ``vmap``."""
    h = x.reshape(len(x), num_groups, -1)
    h = h - h.mean(-1, keepdim=True)
    h = (h * (h.square().mean(-1, keepdim=True) + eps).rsqrt()).view(x.shape)
    shape = [1, -1] + [1] * (x.ndim - 2)
    h = h if weight is None else h * weight.view(shape)
    return h if bias is None else h + bias.view(shape)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


_PATCHED: ContextVar[bool] = ContextVar("patched", default=False)


@contextmanager
def patched() -> Iterator[None]:
    """Within, convolutions are matrix products of patches."""
    token = _PATCHED.set(True)
    try:
        with _Instead():
            yield
    finally:
        _PATCHED.reset(token)


def by_patches() -> bool:
    """Whether this runs within :func:`patched`, and in no transform that differentiates: plain autograd does that."""
    return _PATCHED.get() and (torch._C._functorch.peek_interpreter_stack() is None or batched.single())
