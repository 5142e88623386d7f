"""Contributions of the parts of a query as a typed result: as text, as HTML with words or pixels in color, as JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Two colors that are told apart without red and green: what speaks for the answer, and against it.
FOR, AGAINST = (0, 114, 178), (213, 94, 0)
#: Parts in the lists of the text, and pixels of the longer side of a picture.
_SHOWN, _SIDE = 5, 224


@dataclass(frozen=True)
class Described:
    """What is said of an answer beside numbers."""

    answer: Any
    """The label, or the predicted number."""
    of: str
    """What is explained: ``"log odds"``, ``"probability"`` or ``"number"``."""
    baseline: str
    """What stands for parts that are not there, in words."""
    names: tuple[str, ...] | None = None
    """Of the parts."""
    picture: npt.NDArray[Any] | None = field(default=None, repr=False)
    """Of pictures, what the network sees, ``[C, H, W]``."""
    patch: int = 1
    """Of pictures, the side of a part in pixels."""
    text: bool = False
    """Whether the parts are words, in their order."""


@dataclass(frozen=True)
class Attribution:
    """What each part of one query contributes to its answer."""

    values: Floats
    """Contributions, ``[n]``; of pictures rows and columns of pixels or patches ``[h, w]``."""
    error: Floats | None
    """Standard errors, where contributions were sampled."""
    value: float
    """Of what is explained, with all parts there."""
    nothing: float
    """And with none of them."""
    method: str
    infidelity: float | None
    """Mean squared difference to what happens where random sets of parts are taken away."""
    unexplained: float | None
    """Its share of the mean squared change: 0 is perfect, 1 no better than saying that nothing matters."""
    sensitivity: float | None
    """How much contributions change at most where the query changes by little, as a share of their length; ``None``
    where it was not asked for, and for words and the columns of tables, of which there is no little change."""
    described: Described

    @property
    def answer(self) -> Any:
        """The label, or the predicted number."""
        return self.described.answer

    @property
    def completeness(self) -> float:
        """What the sum of the contributions lacks of the difference between all parts and none.

        It is 0, up to steps and rounding, for integrated gradients and Shapley values alone.
        """
        return self.value - self.nothing - float(self.values.sum())

    @property
    def strongest(self) -> list[int]:
        """Places of the parts (of pictures row by row), the largest contributions of either sign first."""
        return np.argsort(-np.abs(self.values.ravel()), kind="stable").tolist()

    def name(self, place: int) -> str:
        """What a part is called."""
        if self.described.names is not None:
            return self.described.names[place]
        if self.values.ndim == 2:
            row, column = divmod(place, self.values.shape[1])
            return f"row {row}, column {column}"
        return str(place)

    def __str__(self) -> str:
        flat = self.values.ravel()
        lines = [self._head()]
        for title, sign in (("for it", 1), ("against it", -1)):
            places = [place for place in self.strongest if sign * flat[place] > 0][:_SHOWN]
            lines += [f"  {title}:"] if places else []
            lines += [f"    {flat[place]:+.3f}  {self.name(place)}" for place in places]
        return "\n".join([*lines, *(f"  {line}" for line in self._foot())])

    def _repr_html_(self) -> str:
        if self.described.text:
            body = f"<p>{' '.join(self._word(place) for place in range(self.values.size))}</p>"
        elif self.values.ndim == 2:
            body = self._pictures()
        else:
            body = self._bars()
        foot = "".join(f"<p>{escape(line)}</p>" for line in self._foot())
        return f"<div><p><strong>{escape(self._head())}</strong></p>{body}{foot}</div>"

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "answer": self.answer if isinstance(self.answer, int | float | bool) else str(self.answer),
            "of": self.described.of,
            "method": self.method,
            "baseline": self.described.baseline,
            "value": self.value,
            "nothing": self.nothing,
            "names": None if self.described.names is None else list(self.described.names),
            "contributions": self.values.tolist(),
            "standard_errors": None if self.error is None else self.error.tolist(),
            "infidelity": self.infidelity,
            "unexplained": self.unexplained,
            "sensitivity": self.sensitivity,
            "completeness": self.completeness,
        }

    def _head(self) -> str:
        if self.described.of == "number":
            return f"{self.value:.6g}, by {self.method}"
        return f"{self.answer}, {self.described.of} {self.value:.3f}, by {self.method}"

    def _foot(self) -> list[str]:
        lines = [f"with {self.described.baseline} in the place of all parts: {self.nothing:.3f}"]
        checks = (
            ("infidelity", self.infidelity),
            ("unexplained", self.unexplained),
            ("sensitivity", self.sensitivity),
            ("left over", self.completeness),
        )
        return [*lines, ", ".join(f"{name} {value:.3g}" for name, value in checks if value is not None)]

    def _shade(self, place: int) -> tuple[tuple[int, int, int], float]:
        most = float(np.abs(self.values).max(initial=0.0)) or 1.0
        value = float(self.values.ravel()[place])
        return (FOR if value > 0 else AGAINST), abs(value) / most

    def _word(self, place: int) -> str:
        (red, green, blue), share = self._shade(place)
        value = f"{self.values.ravel()[place]:+.3f}"
        style = f"background:rgba({red},{green},{blue},{0.6 * share:.2f});padding:0 .15em;border-radius:.2em"
        return f'<span style="{style}" title="{value}">{escape(self.name(place))}</span>'

    def _bars(self) -> str:
        rows = []
        for place in self.strongest[: 4 * _SHOWN]:
            color, share = self._shade(place)
            style = f"background:rgb{color};height:.8em;width:{100 * share:.0f}%".replace(" ", "")
            cells = f"<td>{escape(self.name(place))}</td><td>{self.values.ravel()[place]:+.3f}</td>"
            rows.append(f"<tr>{cells}<td style='width:8em'><div style=\"{style}\"></div></td></tr>")
        return f"<table>{''.join(rows)}</table>"

    def _pictures(self) -> str:
        """What the network sees, and the contributions over it in gray."""
        seen = self.described.picture
        gray = None if seen is None else _gray(seen)
        height, width = self.values.shape if gray is None else gray.shape
        rows, columns = (np.arange(size) // (1 if gray is None else self.described.patch) for size in (height, width))
        most = float(np.abs(self.values).max(initial=0.0)) or 1.0
        shares = (self.values / most)[rows][:, columns, None]
        ground = np.full((height, width, 1), 255.0) if gray is None else 128 + gray[..., None] / 2
        color = np.where(shares > 0, np.array(FOR, float), np.array(AGAINST, float))
        over = ground * (1 - 0.85 * np.abs(shares)) + 0.85 * np.abs(shares) * color
        pictures = [over] if seen is None else [_colors(seen), over]
        return "".join(f'<img alt="contributions" src="{_png(picture)}">' for picture in pictures)


@dataclass(frozen=True)
class Attributions:
    """The contributions behind some answers, in their order: a sequence of :class:`Attribution`."""

    each: tuple[Attribution, ...]

    def __len__(self) -> int:
        return len(self.each)

    def __iter__(self) -> Iterator[Attribution]:
        return iter(self.each)

    def __getitem__(self, place: int) -> Attribution:
        return self.each[place]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.each))

    def _repr_html_(self) -> str:
        return "".join(one._repr_html_() for one in self.each)

    def json(self) -> list[dict[str, Any]]:
        """Plain values."""
        return [one.json() for one in self.each]


def _colors(picture: npt.NDArray[Any]) -> Floats:
    """``[C, H, W]`` of any range as ``[H, W, C]`` of 0 to 255."""
    low, high = float(picture.min()), float(picture.max())
    # Values from 0 to 1 as they are; what was standardized is spread out.
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    found: Floats = 255 * (np.moveaxis(picture, 0, 2) - low) / ((high - low) or 1.0)
    return found


def _gray(picture: npt.NDArray[Any]) -> Floats:
    found: Floats = _colors(picture).mean(2)
    return found


def _png(pixels: Floats) -> str:
    """``[H, W, C]`` of 0 to 255 as an address that holds the picture."""
    from PIL import Image

    whole = np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels[..., :3]
    image = Image.fromarray(np.ascontiguousarray(whole.clip(0, 255).astype(np.uint8)))
    scale = max(1, _SIDE // max(image.size))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    held = io.BytesIO()
    image.save(held, "png")
    return f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"
