"""Examples that are the same, or nearly: pictures by a hash of their low frequencies, sentences by their words, rows.

A picture's hash has a bit for each of 64 low frequencies of its gray 32 x 32 version: whether it is above the median.
Copies in another size, format or quality differ in few bits, and so may different pictures that are mostly ground;
hence pictures must correlate too.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

#: The most bits in which near-duplicates differ: pairs are then equal in one of ``BITS + 1`` parts of the hash.
BITS = 7
_CORRELATION = 0.9
#: Pictures of one part of a hash that are compared with each other at most; more are nearly blank.
_CROWD = 3000


def hashes(grays: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The perceptual hash of each gray picture ``[N, 32, 32]``.

    Example:
        >>> gray = np.random.default_rng(0).integers(0, 200, (1, 32, 32)).astype(np.uint8)
        >>> bool(hashes(gray)[0] == hashes(gray + np.uint8(20))[0])
        True
    """
    from scipy.fft import dctn

    low = dctn(grays.astype(np.float32), axes=(1, 2), norm="ortho")[:, :8, :8].reshape(len(grays), 64)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    # The first is the mean brightness, which tells nothing.
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def near_pictures(grays: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs of pictures ``[N, 32, 32]`` that are nearly the same, also those that are the same."""
    if not len(grays):
        return []
    codes = hashes(grays)
    flat = grays.reshape(len(grays), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = flat / np.maximum(length, 1e-6)
    parts = np.array_split(np.arange(64, dtype=np.uint64), BITS + 1)
    found: set[tuple[int, int]] = set()
    for part in parts:
        mask = np.uint64(sum(1 << int(bit) for bit in part))
        for rows in _alike(codes & mask):
            if 1 < len(rows) <= _CROWD:
                for first, second in _close(codes[rows]):
                    found.add((rows[first], rows[second]))
    # A picture of one tone correlates with nothing: two of them are near if their tones are.
    blank = length[:, 0] < 32
    tones = grays.reshape(len(grays), -1).mean(1)
    return sorted(
        (a, b) for a, b in found
        if (unit[a] @ unit[b] > _CORRELATION and not (blank[a] or blank[b]))
        or (blank[a] and blank[b] and abs(tones[a] - tones[b]) < 2)
    )  # fmt: skip


def _close(codes: npt.NDArray[np.uint64]) -> Iterable[tuple[int, int]]:
    """Pairs of codes that differ in few bits, the smaller place first."""
    for place in range(len(codes) - 1):
        other = np.bitwise_xor(codes[place + 1 :], codes[place])
        bits = np.unpackbits(other.view(np.uint8).reshape(-1, 8), axis=1).sum(1)
        for near in np.flatnonzero(bits <= BITS).tolist():
            yield place, place + 1 + near


def _alike(values: Sequence[Hashable] | npt.NDArray[Any]) -> list[list[int]]:
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, value in enumerate(values.tolist() if isinstance(values, np.ndarray) else values):
        places[value].append(place)
    return list(places.values())


def same(values: Sequence[Hashable]) -> list[list[int]]:
    """The places of equal values, of those that occur twice at least; ``None`` equals nothing.

    Example:
        >>> same(["a", "b", "a", None, None])
        [[0, 2]]
    """
    return [rows for rows in _alike(values) if len(rows) > 1 and values[rows[0]] is not None]


def joined(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Sets of places that pairs connect, sorted.

    Example:
        >>> joined([(0, 3), (3, 5), (1, 2)])
        [[0, 3, 5], [1, 2]]
    """
    parent: dict[int, int] = {}

    def top(place: int) -> int:
        parent.setdefault(place, place)
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for a, b in pairs:
        first, second = sorted((top(a), top(b)))
        parent[second] = first
    found: dict[int, list[int]] = defaultdict(list)
    for place in sorted(parent):
        found[top(place)].append(place)
    return sorted(found.values())


def words_of(text: str) -> str:
    """A sentence without case, marks, and blanks that are more than one.

    Example:
        >>> words_of("  Where's my CARD?? ")
        'where s my card'
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    # Sentences of other marks than letters and digits are themselves.
    return " ".join(re.findall(r"\w+", plain)) or plain.strip()


def rounded(row: Iterable[Any]) -> tuple[Any, ...]:
    """A row of a table with its numbers to six digits, and what is missing by one word.

    Example:
        >>> rounded([0.1 + 0.2, "red", float("nan")])
        ('0.3', 'red', None)
    """
    return tuple(
        None if value is None or value != value else f"{value:.6g}" if isinstance(value, (int, float)) else str(value)
        for value in row
    )
