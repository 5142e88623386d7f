"""A look at one's own data before hours are spent on them: what they are, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from innerloop.core.labels import listed
from innerloop.core.numbers import check_count
from innerloop.data.own.likeness import same, words_of
from innerloop.data.own.looking import Looked, Told, look
from innerloop.data.own.read import read_own
from innerloop.data.own.record import OwnData

#: The shorter side of a picture below which there is little to see, in pixels.
_SMALL = 32
#: What Pillow calls a format, where it is not in the ending.
_ENDINGS = {"JPEG": {"jpg", "jpeg", "jpe", "jfif"}, "TIFF": {"tif", "tiff"}, "MPO": {"jpg", "jpeg", "mpo"}}


@dataclass(frozen=True)
class Finding:
    """Something that a person should know.

    Args:
        what: it is, in one word: ``damaged``, ``absent``, ``conflict``, ``leak``, ``duplicates``, ``near``, ``small``,
            ``classes``, ``spelling``, ``amount``, ``unlabeled``, ``missing``, ``constant``, ``counts``, ``tells``,
            ``ending``, ``tiny``, ``animated``.
        says: a sentence with numbers, and the remedy.
        stops: whether nothing can be learned before it is mended.
        where: the examples, columns or classes; sets of examples are joined by ``=``.
    """

    what: str
    says: str
    stops: bool = False
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What was found of data.

    Args:
        own: the examples.
        findings: those that stop first.
        pictures: sizes, modes and formats of pictures, how often each.
    """

    own: OwnData
    findings: tuple[Finding, ...]
    pictures: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether something can be learned from the data as they are."""
        return not any(finding.stops for finding in self.findings)

    def json(self) -> dict[str, Any]:
        """All of it as plain values."""
        own = self.own
        return {
            "data": own.origin,
            "kind": own.kind,
            "examples": len(own),
            "unlabeled": own.unlabeled,
            "label": own.label,
            "objective": own.objective,
            "classes": {str(label): count for label, count in own.counts.items()}
            if own.objective == "classification"
            else None,
            "splits": dict(Counter(own.splits)) if own.splits is not None else None,
            "tasks": len(set(own.tasks)) if own.tasks is not None else None,
            "coarser": sorted({above[0] for above in own.hierarchy.values()}),
            "columns": [str(name) for name in own.X.columns] if own.kind == "table" else None,
            "features": int(own.X.shape[1]) if own.kind == "vectors" else None,
            "pictures": self.pictures or None,
            "notes": list(own.notes),
            "findings": [
                {"what": one.what, "stops": one.stops, "says": one.says, "where": list(one.where)}
                for one in self.findings
            ],
            "usable": self.usable,
        }


def check(data: Any, *, shots: int | None = None, told: Told | None = None, **options: Any) -> Checked:
    """Look at data before anything is learned from them. Nothing is written.

    Args:
        data: a path, a data frame or a data set, as :func:`innerloop.data.read_own` reads them, or what it gave.
        shots: examples a class that will be asked for.
        told: hears how many examples of how many were looked at.
        options: of :func:`innerloop.data.read_own`.

    Raises:
        InputError: as :func:`innerloop.data.read_own`, where it cannot be told what the data are.

    Example:
        >>> rows = [("Where is it?", "place"), ("where is it", "time"), ("It is late.", "time")]
        >>> found = check(rows)
        >>> found.usable, [finding.what for finding in found.findings]
        (True, ['small', 'conflict'])
    """
    check_count("shots", shots, 1, optional=True)
    own = data if isinstance(data, OwnData) else read_own(data, absent="drop", **options)
    looked = look(own, told)
    found = [*_inputs(own, looked), *_classes(own, shots), *_twice(own, looked), *_columns(own)]
    found.sort(key=lambda finding: not finding.stops)
    return Checked(own, tuple(found), _pictures(looked))


def _inputs(own: OwnData, looked: Looked) -> Iterator[Finding]:
    """What is wrong with single examples."""
    if own.absent:
        what = "files that the table names are not there" if own.kind == "images" else "examples have no text"
        yield Finding("absent", f"{len(own.absent)} {what}: add them, or take their rows out", True, own.absent)
    if looked.broken:
        where = tuple(own.names[place] for place in looked.broken)
        first = next(iter(looked.broken.values()))
        more = f" (and {len(where) - 1} more)" if len(where) > 1 else ""
        yield Finding("damaged", f"{first}{more}", True, where)
    glances = [(name, glance) for name, glance in zip(own.names, looked.glances, strict=False) if glance is not None]
    tiny = tuple(name for name, glance in glances if min(glance.width, glance.height) < _SMALL)
    if tiny:
        yield Finding("tiny", f"{len(tiny)} pictures have a side below {_SMALL} pixels", where=tiny)
    moving = tuple(name for name, glance in glances if glance.frames > 1)
    if moving:
        yield Finding("animated", f"{len(moving)} pictures have several frames: the first is taken", where=moving)
    lying = tuple(name for name, glance in glances if glance.format and not _fits(name, glance.format))
    if lying:
        yield Finding("ending", f"{len(lying)} pictures are of another format than their names say", where=lying)


def _fits(name: str, kind: str) -> bool:
    ending = name.rpartition(".")[2].lower()
    if "." not in name or kind not in {"BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP"}:
        return True
    return ending in _ENDINGS.get(kind, {kind.lower()})


def _classes(own: OwnData, shots: int | None) -> Iterator[Finding]:
    """What is wrong with the labels."""
    if own.unlabeled:
        where = tuple(name for name, known in zip(own.names, own.known, strict=True) if not known)
        yield Finding("unlabeled", f"{own.unlabeled} examples have no label, and are not learned from", where=where)
    if own.objective == "regression":
        says = f"{own.label} holds numbers that are not whole, and no classes: il.FewShotRegressor learns such numbers"
        yield Finding("classes", says, True)
        return
    counts = own.counts
    # What is learned from, where that is known.
    learned = own.part("train").counts if "train" in (own.splits or ()) else counts
    if len(counts) < 2:
        only = f"one class ({next(iter(counts))!r})" if counts else "no label"
        yield Finding("classes", f"there is {only}, and nothing to tell apart: give two classes at least", True)
    written = same([words_of(str(label)) for label in counts])
    if written:
        alike = [" = ".join(repr(list(counts)[place]) for place in places) for places in written]
        says = f"classes that differ in case, blanks or marks alone: {listed(alike)}; are they one?"
        yield Finding("spelling", says, where=tuple(alike))
    least = shots if shots is not None else 2
    few = tuple(str(label) for label in counts if learned.get(label, 0) < least)
    if few and shots is not None:
        says = f"{len(few)} classes have fewer than {shots} examples ({listed(few)}): add some, or ask for fewer shots"
        yield Finding("small", says, True, few)
    elif few:
        says = (
            f"{len(few)} classes have one example at most ({listed(few)}): how well they are told cannot be estimated"
        )
        yield Finding("small", says, where=few)
    if len(counts) > 20 and all(isinstance(label, int) for label in counts) and not _numbered(own):
        says = f"the {len(counts)} classes are whole numbers ({listed(map(str, counts))}): is {own.label} an amount?"
        yield Finding("amount", says)


def _numbered(own: OwnData) -> bool:
    """Whether classes are numbered without a gap, with a few examples each."""
    classes = own.classes
    return classes[-1] - classes[0] + 1 == len(classes) and len(classes) <= len(own) / 3


def _twice(own: OwnData, looked: Looked) -> Iterator[Finding]:
    """Examples that occur more than once: within a class, in two classes, in two splits."""
    labels = own.y.tolist()

    def sets(groups: Sequence[Sequence[int]]) -> tuple[str, ...]:
        return tuple(" = ".join(own.names[row] for row in rows) for rows in groups)

    def many(groups: Sequence[Any], what: str) -> str:
        return "1 set of examples is " + what if len(groups) == 1 else f"{len(groups)} sets of examples are {what}"

    for what, groups in (("the same", looked.same), ("nearly the same", _added(looked))):
        conflicts = [rows for rows in groups if len({labels[row] for row in rows} - {None}) > 1]
        if conflicts:
            first = ", ".join(f"{own.names[row]} ({labels[row]})" for row in conflicts[0][:3])
            says = f"{many(conflicts, what)} and of two classes: {first}; give each one label"
            yield Finding("conflict", says, where=sets(conflicts))
        leaks = [rows for rows in groups if own.splits is not None and len({own.splits[row] for row in rows}) > 1]
        if leaks:
            first = ", ".join(f"{own.names[row]}" for row in leaks[0][:3])
            says = f"{many(leaks, what)} and in two splits: {first}; a test on these is no test"
            yield Finding("leak", says, where=sets(leaks))
        rest = [rows for rows in groups if rows not in conflicts and rows not in leaks]
        if rest:
            more = sum(len(rows) - 1 for rows in rest)
            says = f"examples that are {what} as another of their class: {more}; they count as fewer than they look"
            yield Finding("duplicates" if what == "the same" else "near", says, where=sets(rest))


def _added(looked: Looked) -> list[list[int]]:
    """The sets of near-duplicates that are more than sets of the same."""
    known = {tuple(rows) for rows in looked.same}
    return [rows for rows in looked.near if tuple(rows) not in known]


def _columns(own: OwnData) -> Iterator[Finding]:
    """What is wrong with the columns of a table, or with features."""
    if own.kind == "vectors":
        constant = np.flatnonzero((own.X[:1] == own.X).all(0)).tolist() if len(own) else []
        if constant:
            where = tuple(f"feature {place}" for place in constant)
            yield Finding("constant", f"{len(constant)} features have one value: they tell nothing", where=where)
        return
    if own.kind != "table":
        return
    gone = {str(name): int(own.X[name].isna().sum()) for name in own.X.columns}
    gone = {name: count for name, count in gone.items() if count}
    if gone:
        shown = listed(f"{name} {count}" for name, count in gone.items())
        yield Finding("missing", f"{sum(gone.values())} cells are missing ({shown})", where=tuple(gone))
    flat = [str(name) for name in own.X.columns if own.X[name].nunique(dropna=False) == 1]
    if flat:
        yield Finding("constant", f"columns with one value tell nothing: {listed(flat)}", where=tuple(flat))
    counting = [str(name) for name in own.X.columns if _counts_rows(own.X[name])]
    if counting:
        says = f"columns that only count the rows: {listed(counting)}; leave them out by inputs="
        yield Finding("counts", says, where=tuple(counting))
    if own.objective == "regression":
        return
    labels = own.y[own.known].tolist()
    tell = []
    for name in own.X.columns:
        cells = own.X[name][own.known].tolist()
        pairs = set(zip(cells, labels, strict=True))
        if 1 < len(pairs) == len(set(cells)) == len(set(labels)) < len(cells):
            tell.append(str(name))
    if tell:
        says = (
            f"columns that tell the label alone, one value a class: {listed(tell)}; leave out what is not known before"
        )
        yield Finding("tells", says, where=tuple(tell))


def _counts_rows(column: Any) -> bool:
    """Whether a column is of whole numbers, each one more than that above it."""
    if column.dtype.kind not in "iuf" or len(column) < 5 or column.isna().any():
        return False
    return bool((np.diff(column.to_numpy(dtype=np.float64)) == 1).all())


def _pictures(looked: Looked) -> dict[str, dict[str, int]]:
    glances = [glance for glance in looked.glances if glance is not None]
    if not glances:
        return {}
    sizes = Counter(f"{glance.width}x{glance.height}" for glance in glances)
    modes, formats = (
        Counter(glance.mode for glance in glances),
        Counter(glance.format or "memory" for glance in glances),
    )
    sides = [side for glance in glances for side in (glance.width, glance.height)]
    return {
        "side": {"smallest": min(sides), "largest": max(sides)},
        "sizes": dict(sizes.most_common(10)),
        "modes": dict(modes.most_common()),
        "formats": dict(formats.most_common()),
    }
