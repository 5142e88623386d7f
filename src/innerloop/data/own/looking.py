"""A look at every example: which cannot be read, which are the same, which nearly so."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from innerloop.core.numbers import check_number
from innerloop.core.task import InputError
from innerloop.data.images import Glance
from innerloop.data.own.likeness import joined, near_pictures, rounded, same, words_of
from innerloop.data.own.pixels import seen
from innerloop.data.own.record import OwnData

#: Is told how many examples of how many were looked at.
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Looked:
    """What was seen.

    Args:
        broken: examples that cannot be read, by their place, and why.
        same: sets of places that hold the very same.
        near: sets of places that hold nearly the same, or the same.
        glances: of each picture; ``None`` of one that is broken.
    """

    broken: dict[int, str]
    same: list[list[int]]
    near: list[list[int]]
    glances: list[Glance | None] = field(default_factory=list)


def look(own: OwnData, told: Told | None = None) -> Looked:
    """Look at every example: pictures are decoded, sentences compared without case and marks, rows to six digits.

    Args:
        own: the examples.
        told: hears of the progress.
    """
    if own.kind == "images":
        return _pictures(own, told)
    if own.kind == "text":
        texts = [str(text) for text in own.X]
        return Looked({}, same(texts), same([words_of(text) for text in texts]))
    rows = own.X.itertuples(index=False) if own.kind == "table" else own.X.tolist()
    cells = [tuple(row) for row in rows]
    plain: list[Hashable] = [tuple("" if value is None or value != value else value for value in row) for row in cells]
    return Looked({}, same(plain), same([rounded(row) for row in cells]))


def _pictures(own: OwnData, told: Told | None) -> Looked:
    broken: dict[int, str] = {}
    glances: list[Glance | None] = []
    digests: list[str | None] = []
    for place, (item, name) in enumerate(zip(own.X, own.names, strict=True)):
        glance, digest = None, None
        try:
            glance, digest = seen(item, name)
        except InputError as error:
            broken[place] = str(error)
        except OSError as error:
            broken[place] = f"{name} cannot be read ({error.strerror}): check its rights"
        glances.append(glance)
        digests.append(digest)
        if told is not None:
            told(place + 1, len(own))
    equal = same(digests)
    whole = [place for place, glance in enumerate(glances) if glance is not None]
    grays = [glance.gray.numpy() for glance in glances if glance is not None]
    pairs = [(whole[a], whole[b]) for a, b in near_pictures(np.stack(grays))] if grays else []
    return Looked(broken, equal, joined([*pairs, *((rows[0], row) for rows in equal for row in rows[1:])]), glances)


def alike(own: OwnData) -> OwnData:
    """The examples with a group for each set of near-duplicates, so that splits do not tear these apart.

    Groups that were given are kept, and grow by near-duplicates.

    Args:
        own: the examples.

    Example:
        >>> rows = [("Where is it?", "a"), ("where is it", "b"), ("It is here.", "a")]
        >>> groups = alike(il.data.read_own(rows)).groups
        >>> groups[0] == groups[1] != groups[2]
        True
    """
    pairs: list[tuple[int, int]] = [(rows[0], row) for rows in look(own).near for row in rows[1:]]
    first: dict[str, int] = {}
    for place, group in enumerate(own.groups or ()):
        if group:
            pairs.append((first.setdefault(group, place), place))
    groups = [str(place) for place in range(len(own))]
    for rows in joined(_different(pairs)):
        for row in rows:
            groups[row] = groups[rows[0]]
    return replace(own, groups=tuple(groups))


def _different(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return [pair for pair in pairs if pair[0] != pair[1]]


def split_examples(own: OwnData, share: float = 0.2, *, seed: int = 0) -> tuple[OwnData, OwnData]:
    """Examples to learn from and examples to test on, of every class; what is of one group stays together.

    Args:
        own: the examples, of which the labelled ones count.
        share: of each class for the test, as far as its groups allow; at least one example of a class is learned from.
        seed: of the shuffle.

    Returns:
        the examples to learn from, and those to test on.

    Raises:
        InputError: for a share that is none, or where nothing would be left to test on.

    Example:
        >>> own = il.data.read_own([([float(i), 1.0], i % 2) for i in range(10)])
        >>> train, test = split_examples(own)
        >>> train.counts, test.counts
        ({0: 4, 1: 4}, {0: 1, 1: 1})
    """
    check_number("share", share, "(0, 1)")
    own = own.labeled()
    labels: list[Any] = own.y.tolist()
    groups: dict[str, list[int]] = {}
    for place in range(len(own)):
        name = own.groups[place] if own.groups is not None and own.groups[place] else f"\0{place}"
        groups.setdefault(name, []).append(place)
    total = own.counts
    wanted = {label: min(round(share * count), count - 1) for label, count in total.items()}
    chosen = np.zeros(len(own), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(groups))
    members = list(groups.values())
    for place in order:
        rows = members[place]
        needs: dict[Any, int] = {}
        for row in rows:
            needs[labels[row]] = needs.get(labels[row], 0) + 1
        if all(wanted[label] >= count for label, count in needs.items()):
            chosen[rows] = True
            for label, count in needs.items():
                wanted[label] -= count
    if not chosen.any():
        raise InputError(
            f"{len(own)} examples of {len(total)} classes leave none to test on with share={share}: raise it"
        )
    return own.take(~chosen), own.take(chosen)
