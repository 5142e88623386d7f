"""Which column of a table is what: label, task, group, split, and the inputs; by name, by content, or as told."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from innerloop.core.labels import listed
from innerloop.core.task import InputError, did_you_mean
from innerloop.data.own.files import split_of

#: Names of label columns, as `plain` gives them.
LABELS = frozenset(
    {"label", "labels", "class", "classes", "class_label", "class_name", "label_name", "category", "target", "intent"}
    | {"y", "tag"}
)
#: Names of columns of sentences.
TEXTS = frozenset(
    {"text", "texts", "sentence", "sentences", "utterance", "query", "question", "message", "review", "comment"}
    | {"title", "document", "content", "description", "phrase", "tweet"}
)
_ROWS = re.compile(r"|index|idx|id|row|rows|rownames|row_?names|row_?id|unnamed:_?\d+|no|nr|key|uid|uuid|guid")
_SPLITS = frozenset({"split", "splits", "set", "subset", "partition"})
_TASKS = frozenset({"task", "tasks", "task_id", "task_name"})
_COARSER = re.compile(r"(coarse|super|parent).*")


@dataclass(frozen=True)
class Asked:
    """What a person says of their columns; ``None`` where it is to be found."""

    label: str | None = None
    inputs: Sequence[str] | None = None
    task: str | None = None
    group: str | None = None
    coarse: Sequence[str] = ()
    categorical: Sequence[str] = ()
    missing: Sequence[str] = ()


@dataclass
class Roles:
    """The columns of a table by what they are for."""

    label: str
    task: str | None = None
    group: str | None = None
    split: str | None = None
    coarse: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    """Inputs, or what stands beside them."""
    notes: list[str] = field(default_factory=list)


def plain(name: str) -> str:
    """A name of a column as it is compared.

    Example:
        >>> plain(" Class Label"), plain("Class-Name (str)")
        ('class_label', 'class_name')
    """
    return re.sub(r"\W+", "_", re.sub(r"\(.*\)", "", name).strip()).strip("_").lower()


def find_roles(columns: Mapping[str, Sequence[str]], asked: Asked, file: str, paths: str | None) -> Roles:
    """The role of each column.

    Args:
        columns: the texts of each column, empty where a cell is.
        asked: what was said.
        file: what messages call the table.
        paths: the column of file names, where one was found.

    Raises:
        InputError: where a column is not there, or what is the label is not clear: with all columns and the option.
    """
    told = [asked.label, asked.task, asked.group, *asked.coarse, *(asked.inputs or ())]
    for name in told:
        if name is not None and name not in columns:
            raise InputError(
                f"{file} has no column {name!r}{did_you_mean(name, columns)}; it has {', '.join(columns) or 'none'}"
            )
    taken = {name for name in told if name is not None}
    notes: list[str] = []
    free = [name for name in columns if name not in taken and name != paths]
    task = asked.task or _named(free, _TASKS, notes, "a task")
    split = next((n for n in free if plain(n) in _SPLITS and _are_splits(columns[n])), None)
    free = [name for name in free if name not in (task, split)]
    label = asked.label if asked.label is not None else _label(columns, free, file, paths, asked, notes)
    free = [name for name in free if name != label]
    for name in list(free):
        if _names_rows(name, columns[name]):
            free.remove(name)
            notes.append(f"column {name!r} names the rows and is left out (inputs= would take it)")
        elif plain(name) in LABELS or (
            plain(name).startswith(plain(label) + "_") and _same(columns[name], columns[label])
        ):
            if not _same(columns[name], columns[label]):
                continue
            free.remove(name)
            notes.append(f"column {name!r} says the same as {label!r} and is left out (inputs= would take it)")
    coarse = list(asked.coarse)
    for name in list(free):
        if _COARSER.fullmatch(plain(name)) and coarser(columns[name], columns[label]):
            free.remove(name)
            coarse.append(name)
    if coarse:
        notes.append(f"coarser classes are in {listed(coarse)}")
    rest = list(asked.inputs) if asked.inputs is not None else free
    if label in rest:
        raise InputError(f"column {label!r} is the label: leave it out of inputs")
    return Roles(label, task, asked.group, split, coarse, rest, notes)


def coarser(coarse: Sequence[str], fine: Sequence[str]) -> bool:
    """Whether each label of ``fine`` has one of ``coarse``, of which there are fewer, but two at least."""
    pairs = {(f, c) for f, c in zip(fine, coarse, strict=True) if f}
    levels = {c for _, c in pairs}
    return len(pairs) == len({f for f, _ in pairs}) > len(levels) > 1 and "" not in levels


def _names_rows(name: str, texts: Sequence[str]) -> bool:
    return bool(_ROWS.fullmatch(plain(name))) and len(set(texts)) == len(texts)


def _same(one: Sequence[str], other: Sequence[str]) -> bool:
    pairs = set(zip(one, other, strict=True))
    return len(pairs) == len(set(one)) == len(set(other))


def _named(free: Sequence[str], names: frozenset[str], notes: list[str], what: str) -> str | None:
    found = [name for name in free if plain(name) in names]
    if len(found) != 1:
        return None
    notes.append(f"column {found[0]!r} was taken for {what} of each row")
    return found[0]


def _are_splits(texts: Sequence[str]) -> bool:
    return all(split_of(text) for text in set(texts)) and len(set(texts)) > 1


def _label(
    columns: Mapping[str, Sequence[str]],
    free: Sequence[str],
    file: str,
    paths: str | None,
    asked: Asked,
    notes: list[str],
) -> str:
    found = [name for name in free if plain(name) in LABELS]
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        first, *others = found
        if all(_same(columns[first], columns[other]) for other in others):
            # Numbers and names of the same classes: names tell people more.
            words = [name for name in found if not all(text.lstrip("-").isdigit() for text in columns[name])]
            return (words or found)[0]
        raise InputError(f"{file} has {len(found)} columns that may be the label ({listed(found)}): give label=")
    left = [name for name in free if not _names_rows(name, columns[name])]
    if paths is not None and len(left) == 1:
        return left[0]
    if len(left) == 2 and paths is None and asked.inputs is None:
        texts = [name for name in left if is_free_text(columns[name]) or plain(name) in TEXTS]
        other = [name for name in left if name not in texts]
        if len(texts) == 1 and 1 < len(set(columns[other[0]])) <= max(2, len(columns[other[0]]) // 2):
            notes.append(f"column {other[0]!r} was taken for the label, as {texts[0]!r} holds sentences")
            return other[0]
    counted = [f"{name!r} ({len(set(texts) - {''})} different)" for name, texts in columns.items()]
    between = [f"{len(counted) - 12} more"] if len(counted) > 13 else []
    shown = ", ".join([*counted[:8], *between, *counted[-4:]] if between else counted)
    raise InputError(f"which column of {file} is the label is not clear: say label=, one of {shown}")


def of_sentences(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The columns that may hold the sentences: the one that is called so, those that hold some, or the only one left.

    Args:
        columns: the texts of each.

    Example:
        >>> of_sentences({"text": ["hello", "bye"], "label": ["in", "out"], "note": ["a", "b"]})
        ['text']
        >>> of_sentences({"id": ["1", "2"], "said": ["hello", "bye"], "label": ["in", "out"]})
        ['said']
    """
    named = list(columns) if len(columns) == 1 else [name for name in columns if plain(name) in TEXTS]
    if len(named) == 1:
        return named
    free = [name for name, texts in columns.items() if is_free_text(texts)]
    left = [name for name, texts in columns.items() if plain(name) not in LABELS and not _names_rows(name, texts)]
    return free or (left if len(left) == 1 else [])


def is_free_text(texts: Sequence[str]) -> bool:
    """Whether a column holds sentences: three words and more on average, and mostly different ones.

    Example:
        >>> is_free_text(["where is my card", "my card is gone"]), is_free_text(["red", "blue"])
        (True, False)
    """
    there = [text for text in texts if text]
    if not there:
        return False
    words = sum(len(text.split()) for text in there) / len(there)
    return words >= 3 and len(set(there)) > len(there) / 2
