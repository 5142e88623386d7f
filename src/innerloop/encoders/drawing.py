"""A drawing brought to one form: ink on nothing, whatever it was drawn with, on what ground, how large and where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from innerloop.core.task import InputError

#: The least difference from the ground that counts as drawn, of 255.
FAINT = 12
# Pixels of the canvas on which strokes are measured, for one of the result.
_FINE = 3
# The longer side from which on a picture is first made smaller by whole numbers, in pixels: it bounds the memory.
_LARGE = 1024


class Form(NamedTuple):
    """What a drawing is brought to; the encoder's preprocessing, as data."""

    side: int = 28
    """Height and width of the result, in pixels."""
    margin: int = 2
    """Between the ink and the nearest edges, in pixels."""
    pen: float = 1.0
    """Half the width of a stroke, in pixels."""
    thin: float = 0.35
    """The largest share of its half width that a stroke loses, so that none breaks."""


#: What the letters encoder of the package was trained on.
STANDARD = Form()


def drawing(picture: Tensor, form: Form = STANDARD, name: str = "the drawing") -> Tensor:
    """Bring a drawing to one form.

    The ground is the median color of the picture's frame, ink is what differs from it (light on dark or dark on light,
    in any color); Otsu's threshold parts the two. The ink is cut out, fitted into a square by its longer side and
    centered, and its strokes are brought to one width.

    Args:
        picture: ``[C, H, W]`` of 0 to 255, uint8 or float.
        form: size, margin and pen.
        name: what a message calls it.

    Returns:
        float32 ``[1, side, side]``, ink 1 on 0.

    Raises:
        InputError: if nothing is drawn: no pixel differs from the ground by 12 of 255.

    Example:
        >>> page = torch.full((1, 60, 80), 255, dtype=torch.uint8)
        >>> page[:, 20:40, 30:32] = 0
        >>> stroke = drawing(page)
        >>> stroke.shape, bool(stroke.equal(drawing(255 - page)))
        (torch.Size([1, 28, 28]), True)

    References:
        Otsu, *A Threshold Selection Method from Gray-Level Histograms*, 1979, https://doi.org/10.1109/TSMC.1979.4310076.
    """
    pixels = picture.numpy()
    # Gray as color is one channel three times.
    away = _away(_smaller(pixels[:1] if (pixels == pixels[:1]).all() else pixels))
    if away.max() < FAINT:
        raise InputError(
            f"nothing is drawn on {name}: no pixel differs from its ground by {FAINT} of 255 (at most "
            f"{away.max():.0f}; what is transparent counts as white); take it out, or draw with more contrast"
        )
    limit, low, high = _otsu(away)
    ink = ((away - low) / (high - low)).clip(0, 1)
    rows, columns = (np.flatnonzero((away > limit).any(axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return torch.from_numpy(_strokes(_fitted(ink, form), form)).unsqueeze(0)


def _smaller(picture: np.ndarray) -> np.ndarray:
    """Float32 ``[C, H, W]``, its longer side below twice the largest."""
    times = max(1, max(picture.shape[1:]) // _LARGE)
    if times == 1:
        return picture.astype(np.float32)
    padded = np.pad(picture, ((0, 0), *((0, -n % times) for n in picture.shape[1:])), "edge")
    height, width = (n // times for n in padded.shape[1:])
    return padded.reshape(-1, height, times, width, times).mean((2, 4), dtype=np.float32)


def _away(picture: np.ndarray) -> np.ndarray:
    """How far each pixel is from the ground, ``[H, W]`` of 0 to 255."""
    frame = np.concatenate((picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]), 1)
    return np.abs(picture - np.median(frame, 1)[:, None, None]).max(0)


def _otsu(values: np.ndarray) -> tuple[float, float, float]:
    """The threshold that parts values best, and the mean below and above it."""
    # A picture has few levels and many pixels.
    levels, times = np.unique(values.astype(np.float64), return_counts=True)
    counts, edges = np.histogram(levels, 128, (0.0, levels[-1]), weights=times)
    middles = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1]
    above = counts.sum() - below
    sums = (counts * middles).cumsum()
    low, high = sums[:-1] / below.clip(1), (sums[-1] - sums[:-1]) / above.clip(1)
    best = int((below.astype(np.float64) * above * (high - low) ** 2).argmax())
    limit = float(edges[best + 1])
    # The means of the values themselves: a clean drawing has its ground at 0 and its ink at the top.
    ink = levels >= limit
    ground = float(np.average(levels[~ink], weights=times[~ink])) if not ink.all() else 0.0
    return limit, ground, float(np.average(levels[ink], weights=times[ink]))


def _fitted(ink: np.ndarray, form: Form) -> np.ndarray:
    """The ink in the middle of a square canvas, its longer side as the margin says."""
    from PIL import Image

    side, room = form.side * _FINE, (form.side - 2 * form.margin) * _FINE
    scale = room / max(ink.shape)
    height, width = (max(1, round(n * scale)) for n in ink.shape)
    kind = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(ink).resize((width, height), kind))
    canvas = np.zeros((side, side), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = resized
    return canvas


def _strokes(canvas: np.ndarray, form: Form) -> np.ndarray:
    """The canvas with strokes of one width, float32 ``[side, side]``."""
    from scipy import ndimage

    # A hairline of a large picture is faint by now, so what is ink is asked again.
    ink = canvas >= _otsu(canvas)[0]
    outside, inside = ndimage.distance_transform_edt(~ink), ndimage.distance_transform_edt(ink)
    # A stroke of length l and half width h has the area 2hl and an outline of 2l.
    half = ink.sum() / (inside == 1).sum()
    grow = max(form.pen * _FINE - half, -form.thin * half)
    # Distances run from middle to middle of pixels: the outline lies half a pixel before the ink's.
    distance = np.where(ink, 0.5 - inside, outside - 0.5)
    fine = (0.5 + grow - distance).clip(0, 1)
    return fine.reshape(form.side, _FINE, form.side, _FINE).mean((1, 3)).astype(np.float32)
