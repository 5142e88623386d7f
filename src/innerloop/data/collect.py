"""The items of a PyTorch data set as one tensor and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innerloop.core.targets import tensor_of
from innerloop.core.task import InputError
from innerloop.data.images import Fit, image_tensor


def collect(
    dataset: Any, size: int | None, channels: int | None, fit: Fit
) -> tuple[Tensor, list[Any], Sequence[str] | None]:
    """All examples ``[N, *F]``, their labels, and the names of labels 0, 1, ... where the data set has these."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputError(
            f"a {type(dataset).__name__} has no length and no numbered items: give a map-style data set (a stream of "
            f"examples is written in blocks, by data.write_pool)"
        )
    count = len(dataset)
    if not count:
        raise InputError(f"the {type(dataset).__name__} holds no item: a pool needs at least one example")
    labels: list[Any] = []
    x = torch.empty(0)
    for i in range(count):
        item = dataset[i]
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise InputError(f"item {i} of the data set is a {type(item).__name__}: it must be a pair (x, label)")
        if channels is None and _is_image(item[0]):
            channels = 3 if len(item[0].getbands()) >= 3 or item[0].mode in ("P", "PA") else 1
        part = _example(item[0], size, channels, fit, i)
        if i == 0:
            x = torch.empty(count, *part.shape, dtype=part.dtype)
        if part.shape != x.shape[1:] or part.dtype != x.dtype:
            raise InputError(
                f"item {i} of the data set is {part.dtype} {tuple(part.shape)}, the first {x.dtype} "
                f"{tuple(x.shape[1:])}: bring all to one type and shape (Pillow images: by size= and channels=)"
            )
        x[i] = part
        labels.append(item[1])
    known = getattr(dataset, "classes", None)
    return x, labels, [str(name) for name in known] if isinstance(known, (list, tuple)) else None


def _example(x: Any, size: int | None, channels: int | None, fit: Fit, i: int) -> Tensor:
    if _is_image(x):
        return image_tensor(x, size=size, channels=channels or 3, fit=fit, name=f"item {i} of the data set")
    if not isinstance(x, (Tensor, np.ndarray, list, tuple, float, int)):
        raise InputError(
            f"item {i} of the data set has x of type {type(x).__name__}: it must be a Pillow image, a tensor or an "
            f"array"
        )
    if isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 3 and x.shape[2] <= 4 < x.shape[0]:
        # Channels last, as NumPy has images.
        from PIL import Image

        x = Image.fromarray(x[:, :, 0] if x.shape[2] == 1 else x)
        return _example(x, size, channels or (1 if x.mode == "L" else 3), fit, i)
    try:
        part = tensor_of(x.detach().cpu().unsqueeze(0) if isinstance(x, Tensor) else np.asarray(x)[None])[0]
    except InputError as error:
        raise InputError(f"item {i} of the data set: {error}") from None
    return part if part.dtype == torch.uint8 or part.is_floating_point() else part.to(torch.get_default_dtype())


def _is_image(x: Any) -> bool:
    return hasattr(x, "getbands") and hasattr(x, "convert")
