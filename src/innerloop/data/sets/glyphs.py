"""Glyphs: letters of nineteen scripts, drawn on this machine from the fonts that come with Matplotlib.

The default data set: nothing to download, built in seconds. It plays Omniglot's part, many classes of twenty small
drawings each, with whole scripts held out for validation and test.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy
import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.task import InputError
from innerloop.data.cache import cached_pools
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools

if TYPE_CHECKING:
    from PIL import ImageFont

_VERSION = 1
_DRAWINGS = 20

# Code points of each script's letters, split by script. Of letters that look alike, the first one listed stays.
_SCRIPTS = {
    "train": {
        "Latin": "0041-005A 0061-007A 00C0-017F 0250-02AF",
        "Greek": "0370-03E1 03F0-03FF",
        "Cyrillic": "0400-052F",
        "Fraktur": "1D56C-1D59F",
        "Script": "1D4D0-1D503",
        "Arabic": "0621-064A 0679-06D3",
        "Canadian_Aboriginal": "1401-167F",
        "Coptic": "03E2-03EF",
        "Lisu": "A4D0-A4F7",
        "Ogham": "1681-169A",
        "Braille": (
            "2801 2803 2809 2819 2811 280B 281B 2813 280A 281A 2805 2807 280D 281D 2815 280F 281F 2817 280E 281E 2825 "
            "2827 283A 282D 283D 2835"
        ),
    },
    "val": {
        "Georgian": "10D0-10FA",
        "Khutsuri": "10A0-10C5 2D00-2D25",
        "Old_Italic": "10300-1031F",
    },
    "test": {
        "Armenian": "0531-0556 0561-0587",
        "Hebrew": "05D0-05EA",
        "Lao": "0E81-0EC4",
        "NKo": "07CA-07EA",
        "Tifinagh": "2D30-2D67",
    },
}

# Upright faces only: the slanted ones are these sheared, which the drawing does itself, and the true italics change
# the letter's shape.
_FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "STIXGeneral",
    "STIXGeneralBol",
)
# Their tables put other letters and symbols on most code points; only the basic Latin letters are what they claim.
_LATIN_FACES = ("cmr10", "cmb10", "cmss10", "cmtt10")

# The mathematical alphabets come in bold, which is complete, and at this distance below it in light.
_LIGHT = {"Fraktur": 0x1D56C - 0x1D504, "Script": 0x1D4D0 - 0x1D49C}

# Sizes in pixels: the font's em and the canvas it is rendered on, the longer side of a letter and the drawing's side.
_EM = 64
_CANVAS = 112
_LETTER = 18
_SIDE = 28

# Letters drawn at once: many, as each call waits for its threads; their canvases take 50 MB.
_CHUNK = 50

# One random number each for the rotation, the shear, both stretches, both shifts and the stroke's width; then the
# coarse grids of the bend (two axes) and of the pen's pressure, which are made smooth by interpolation.
_BEND, _PRESSURE = 5, 4
_NUMBERS = 7 + 2 * _BEND**2 + _PRESSURE**2


def glyphs(cache: bool = True) -> Pools:
    """Letters as pools of ``[N, 1, 28, 28]`` uint8 images, ink 255 on paper 0.

    Twenty drawings a class, from up to eight type faces (twelve for basic Latin), each turned, sheared, stretched,
    shifted and bent at random and drawn with a pen of another width. Classes are named ``Script/U+XXXX``. No script
    stands in two splits, and of letters that look alike (Latin A, Greek Alpha, Cyrillic A) only one is kept, in the
    training split if one of them stands there. The same fonts and library versions give the same images.

    Args:
        cache: keep the images in the cache folder; building takes some ten seconds.

    Returns:
        The pools, named ``"glyphs"``: 11 scripts to train on, 3 to validate, 5 to test.

    Raises:
        InputError: if this installation of Matplotlib comes without its fonts.

    Example:
        >>> pools = glyphs()  # doctest: +SKIP
        >>> pools.test.shape, pools.test.names[0]  # doctest: +SKIP
        ((1, 28, 28), 'Armenian/U+0531')

    References:
        The fonts: DejaVu, https://dejavu-fonts.github.io; STIX, https://www.stixfonts.org; BaKoMa Computer Modern,
        https://ctan.org/pkg/bakoma-fonts.
    """
    if not cache:
        return _build()
    fonts = {face: hashlib.sha256(_file(face).read_bytes()).hexdigest() for face in _FACES + _LATIN_FACES}
    return cached_pools("glyphs", {"version": _VERSION, "fonts": fonts}, _build)


def _build() -> Pools:
    looks: dict[tuple[str, str, int], _Field] = {}
    others: dict[tuple[str, int], Iterator[_Field]] = {}
    for split, scripts in _SCRIPTS.items():
        for script, ranges in scripts.items():
            for code in _letters(script, ranges):
                fields = _fields(script, code)
                if field := next(fields, None):
                    looks[split, script, code], others[script, code] = field, fields
    letters = [list(looks)[i] for i in _distinct(_draw(list(looks.values())))]
    pools = {}
    for split in _SCRIPTS:
        chosen = [(script, code) for part, script, code in letters if part == split]
        # The first face's form is there already.
        forms = ([looks[split, *letter], *others[letter]] for letter in chosen)
        codes = [code for _, code in chosen]
        chunks = (codes[i : i + _CHUNK] for i in range(0, len(codes), _CHUNK))
        x = torch.cat([_drawings(chunk, list(islice(forms, len(chunk)))) for chunk in chunks])
        names = tuple(f"{script}/U+{code:04X}" for script, code in chosen)
        pools[split] = Pool(x, torch.full((len(names),), _DRAWINGS), names)
    return Pools(pools["train"], pools["val"], pools["test"], "glyphs")


def _letters(script: str, ranges: str) -> Iterator[int]:
    """The code points that are letters of their own, not a letter with an accent or two letters joined."""
    for part in ranges.split():
        first, _, last = part.partition("-")
        for code in range(int(first, 16), int(last or first, 16) + 1):
            character = chr(code)
            letter = unicodedata.category(character) in ("Lu", "Ll", "Lo") or script == "Braille"
            # Unicode decomposes the mathematical alphabets too, into basic Latin.
            if letter and (script in _LIGHT or unicodedata.normalize("NFKD", character) == character):
                yield code


class _Field(NamedTuple):
    """The signed distance of each pixel of a canvas from a letter's outline, negative in the ink."""

    distance: Tensor
    """``[_CANVAS, _CANVAS]``, in canvas pixels; the letter is centered."""
    scale: float
    """Canvas pixels to one pixel of the drawing."""
    stroke: float
    """Half the mean width of the strokes, in pixels of the drawing."""


def _fields(script: str, code: int) -> Iterator[_Field]:
    """A letter in each face that has it."""
    places = (code, code - _LIGHT[script]) if script in _LIGHT else (code,)
    for face in _FACES + (_LATIN_FACES if chr(code).isascii() else ()):
        for place in places:
            if place in _coverage(face) and (field := _field(face, chr(place))):
                yield field


def _field(face: str, character: str) -> _Field | None:
    """A letter in one face, or nothing if it leaves no ink or is too large."""
    from PIL import Image, ImageDraw
    from scipy import ndimage

    font = _font(face)
    left, top, right, bottom = font.getbbox(character)
    if max(right - left, bottom - top) > _CANVAS - 8:
        return None
    image = Image.new("L", (_CANVAS, _CANVAS))
    corner = ((_CANVAS - left - right) / 2, (_CANVAS - top - bottom) / 2)
    ImageDraw.Draw(image).text(corner, character, fill=255, font=font)
    ink = numpy.asarray(image) >= 128
    if not ink.any():
        return None
    # The font's own box has room around the ink of some letters.
    rows, columns = numpy.flatnonzero(ink.any(1)), numpy.flatnonzero(ink.any(0))
    ink = numpy.roll(ink, [(_CANVAS - 1 - line[0] - line[-1]) // 2 for line in (rows, columns)], (0, 1))
    distance = ndimage.distance_transform_edt(~ink)
    # What paper is nearest to ink lies within the letter's box or beside it.
    box = tuple(slice(line[0] - 1, line[-1] + 2) for line in map(numpy.flatnonzero, (ink.any(1), ink.any(0))))
    distance[box] -= ndimage.distance_transform_edt(ink[box])
    # Small letters grow to the size of the others, within reason.
    scale = max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1, 0.45 * _EM) / _LETTER
    # A stroke of length l and half-width h has the area 2hl and the outline 2l.
    stroke = ink.sum() / (ink & (distance >= -1)).sum() / scale
    return _Field(torch.from_numpy(distance.astype(numpy.float32)), float(scale), float(stroke))


def _drawings(codes: Sequence[int], forms: Sequence[Sequence[_Field]]) -> Tensor:
    """The drawings of some letters in their forms, ``[len(codes) * _DRAWINGS, 1, _SIDE, _SIDE]``."""
    same = _similarity(_draw([field for form in forms for field in form])) >= 0.65
    fields: list[_Field] = []
    numbers = []
    start = 0
    for code, form in zip(codes, forms, strict=True):
        generator = numpy.random.default_rng((_VERSION, code))
        # A few letters have another shape altogether in some faces.
        usable = same[start, start : start + len(form)].nonzero().flatten().numpy()
        order = generator.permutation(usable)
        fields += [form[order[i % len(order)]] for i in range(_DRAWINGS)]
        numbers.append(generator.standard_normal((_DRAWINGS, _NUMBERS)).clip(-2.0, 2.0))
        start += len(form)
    return _draw(fields, torch.from_numpy(numpy.concatenate(numbers)).float())


def _draw(fields: Sequence[_Field], numbers: Tensor | None = None) -> Tensor:
    """Draw letters with a pen of one width: ``[N, 1, _SIDE, _SIDE]``, uint8.

    Args:
        fields: N letters.
        numbers: standard normal ``[N, _NUMBERS]``, how each departs from the upright letter; default not at all.
    """
    n, fine = len(fields), 2 * _SIDE
    numbers = torch.zeros(n, _NUMBERS) if numbers is None else numbers
    single, bend, pressure = numbers.tensor_split((7, 7 + 2 * _BEND**2), 1)
    angle, shear, wide, high, right, down, pen = single.view(n, 7, 1, 1).unbind(1)
    bend = _smooth(bend.view(n, 2, _BEND, _BEND), fine)
    pressure = _smooth(pressure.view(n, 1, _PRESSURE, _PRESSURE), fine).squeeze(1) * 0.15
    angle, shear = angle * math.radians(8), shear * 0.12
    scale, stroke = (torch.tensor([field[k] for field in fields]).view(n, 1, 1) for k in (1, 2))

    # From a point of the drawing back to the point of the canvas that shows there.
    axis = (torch.arange(fine) + 0.5) / 2 - _SIDE / 2
    x = axis.view(1, 1, -1) + bend[:, 0] - right
    y = axis.view(1, -1, 1) + bend[:, 1] - down
    x, y = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
    x, y = (x + shear * y) * (0.12 * wide).exp(), y * (0.12 * high).exp()
    grid = torch.stack((x, y), -1) * (scale * 2 / _CANVAS).unsqueeze(-1)
    canvas = torch.stack([field.distance for field in fields]).unsqueeze(1)
    distance = F.grid_sample(canvas, grid, padding_mode="border", align_corners=False).squeeze(1) / scale

    # Bold faces are thinned to the pen's width and light ones thickened, but hairlines must not break.
    grow = (1.1 + 0.2 * pen - stroke).maximum(-0.35 * stroke) + pressure
    ink = (0.5 + 2 * (grow - distance)).clamp(0, 1)
    return (255 * F.avg_pool2d(ink.unsqueeze(1), 2)).round().to(torch.uint8)


def _smooth(coarse: Tensor, side: int) -> Tensor:
    """Interpolate ``[..., K, K]`` to ``[..., side, side]``."""
    k = coarse.shape[-1]
    # Interpolated once, as weights: a product with them is far quicker than interpolating every grid.
    weights = F.interpolate(torch.eye(k).view(k, 1, 1, k), (1, side), mode="bicubic", align_corners=True).view(k, side)
    return weights.mT @ coarse @ weights


def _similarity(x: Tensor) -> Tensor:
    """The cosine between blurred images ``x [N, 1, H, W]``, ``[N, N]``."""
    blurred = F.normalize(F.avg_pool2d(x.float(), 3, 1, 1).flatten(1))
    return blurred @ blurred.T


def _distinct(x: Tensor) -> list[int]:
    """The letters of ``x [N, 1, H, W]``, drawn upright, that look like no earlier one."""
    from scipy import ndimage

    ink = x.squeeze(1) >= 128
    away = numpy.stack([ndimage.distance_transform_edt(~letter) for letter in ink.numpy()])
    # stray[i, j]: whether ink of i lies further than two pixels from all ink of j.
    stray = ink.flatten(1).float() @ torch.from_numpy(away > 2).flatten(1).float().T > 0
    alike = (_similarity(x) >= 0.85) & ~stray & ~stray.T
    kept: list[int] = []
    for i in range(len(x)):
        if not alike[i, kept].any():
            kept.append(i)
    return kept


@lru_cache
def _coverage(face: str) -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with TTFont(_file(face)) as font:
        return frozenset(font.getBestCmap())


@lru_cache
def _font(face: str) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(_file(face), _EM, layout_engine=ImageFont.Layout.BASIC)


def _file(face: str) -> Path:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    if not path.is_file():
        raise InputError(
            f"the font {path} is missing, glyphs are drawn with the fonts of Matplotlib's own distribution: "
            f"install Matplotlib with pip, or use another data set"
        )
    return path
