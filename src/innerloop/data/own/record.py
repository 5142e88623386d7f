"""What was read of a person's data: inputs, labels, and all that is known beside them, as one record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from innerloop.core.labels import listed
from innerloop.core.task import InputError, did_you_mean

if TYPE_CHECKING:
    from innerloop.core.facts import Objective

#: What the inputs are: pictures, sentences, columns of a table, or ready feature vectors.
OwnKind = Literal["images", "text", "table", "vectors"]


@dataclass(frozen=True, eq=False)
class OwnData:
    """Examples of one's own, as :func:`~innerloop.data.read_own` reads them.

    Args:
        kind: what ``X`` is.
        X: N inputs, as the estimators take them: paths, Pillow images or arrays of pictures; strings; a pandas frame of
            numbers and categories; or features ``[N, H]``.
        y: labels ``[N]``: words, or numbers where all are. With unlabelled examples among them an array of objects,
            with ``None`` for these.
        names: of each example, for people: its path from the folder, or its row in the file.
        origin: the file, folder or object that it was read from.
        label: where the labels come from: ``"folders"``, ``"files"``, or the name of a column.
        splits: the split that each example was given in (``"train"``, ``"val"``, ``"test"``, or another name).
        tasks: the task that each example belongs to, where there are many.
        groups: what belongs together and must not be torn apart: shots of one scene, sentences of one person.
        hierarchy: of a class its coarser ones, the coarsest first.
        absent: what was left out, as it has no input: pictures that are not there, empty sentences.
        notes: what was inferred, a sentence each.

    Example:
        >>> own = OwnData("text", ["a cat", "a dog", "it"], np.array(["cat", "dog", None]), ("1", "2", "3"))
        >>> own.classes, own.unlabeled, own.labeled().X
        (['cat', 'dog'], 1, ['a cat', 'a dog'])
    """

    kind: OwnKind
    X: Any
    y: npt.NDArray[Any]
    names: tuple[str, ...]
    origin: str = "the data"
    label: str = "label"
    splits: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    hierarchy: Mapping[Any, tuple[str, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the parts against each other."""
        for name in ("X", "y", "names", "splits", "tasks", "groups"):
            part = getattr(self, name)
            if part is not None and len(part) != len(self.names):
                raise InputError(f"{len(self.names)} examples have {len(part)} {name}: give each example one")

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"OwnData({self.kind}, {len(self)} examples, {len(self.classes)} classes, from {self.origin})"

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which examples have a label, ``[N]``."""
        return np.array([label is not None for label in self.y], dtype=bool)

    @property
    def unlabeled(self) -> int:
        """How many examples have no label."""
        return int((~self.known).sum())

    @property
    def classes(self) -> list[Any]:
        """The labels that occur, sorted."""
        return sorted(set(self.y[self.known].tolist()))

    @property
    def counts(self) -> dict[Any, int]:
        """The examples of each class, in the order of ``classes``."""
        found = Counter(self.y[self.known].tolist())
        return {label: found[label] for label in sorted(found)}

    @property
    def objective(self) -> Objective:
        """``"regression"`` where labels are numbers that are not whole."""
        return (
            "regression" if self.y.dtype.kind == "f" or any(isinstance(v, float) for v in self.y) else "classification"
        )

    def take(self, index: Any) -> OwnData:
        """Some of the examples.

        Args:
            index: their places, or a mask ``[N]``.
        """
        given = np.asarray(index)
        places: list[int] = (np.flatnonzero(given) if given.dtype == bool else given).tolist()
        y = self.y[places]
        if y.dtype == object and all(label is not None for label in y):
            y = np.array(y.tolist())

        def some(values: Sequence[str] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[i] for i in places)

        X = self.X
        if hasattr(X, "iloc"):
            X = X.iloc[places].reset_index(drop=True)
        else:
            X = X[places] if isinstance(X, np.ndarray) else [X[i] for i in places]
        names = tuple(self.names[i] for i in places)
        return replace(
            self, X=X, y=y, names=names, splits=some(self.splits), tasks=some(self.tasks), groups=some(self.groups)
        )

    def labeled(self) -> OwnData:
        """The examples that have a label."""
        return self if not self.unlabeled else self.take(self.known)

    def part(self, split: str) -> OwnData:
        """The examples of a split that was given: ``"train"``, ``"val"``, ``"test"``, or as it was called.

        Raises:
            InputError: where there is no such split.
        """
        return self._where("split", self.splits, split)

    def task(self, name: str) -> OwnData:
        """The examples of one of many tasks.

        Raises:
            InputError: where there is no such task.
        """
        return self._where("task", self.tasks, name)

    def _where(self, what: str, values: tuple[str, ...] | None, name: str) -> OwnData:
        known = sorted(set(values or ()))
        if values is None or name not in known:
            has = f"it has {listed(known)}" if known else f"no {what}s were given in it"
            raise InputError(f"{self.origin} has no {what} {name!r}{did_you_mean(name, known)}: {has}")
        return self.take(np.array([value == name for value in values]))
