"""What the commands on a task are given: the task's folder, and files or texts of the task's kind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from innerloop.data.own.record import OwnData
    from innerloop.estimators.fewshot import FewShotClassifier
    from innerloop.estimators.fewshot_regressor import FewShotRegressor

    Task = FewShotClassifier | FewShotRegressor


class Given(NamedTuple):
    """Inputs as the estimator takes them, and what they are called."""

    X: Any
    names: list[str]


def task_of(path: Path) -> Task:
    """The classifier, or the regressor, that a folder keeps.

    Raises:
        InputError: if it keeps something else, or is no bundle.
    """
    from innerloop.bundle import load
    from innerloop.core.task import InputError
    from innerloop.estimators.fewshot import FewShotClassifier
    from innerloop.estimators.fewshot_regressor import FewShotRegressor

    found = load(path)
    if not isinstance(found, FewShotClassifier | FewShotRegressor):
        raise InputError(f"{path} keeps a {type(found).__qualname__}, and a task here is what `innerloop learn` wrote")
    return found


def classifier_of(path: Path) -> FewShotClassifier:
    """The classifier that a folder keeps.

    Raises:
        InputError: if it keeps something else.
    """
    from innerloop.core.task import InputError
    from innerloop.estimators.fewshot import FewShotClassifier

    found = task_of(path)
    if not isinstance(found, FewShotClassifier):
        raise InputError(f"{path} predicts numbers, and this is for classes: give a task that tells classes apart")
    return found


def kind_of(model: Task) -> str:
    """What the task's inputs are: ``"images"``, ``"text"``, ``"table"`` or ``"vectors"``."""
    return model.transformer_.kind if model.transformer_ is not None else "vectors"


def read(model: Task, files: Sequence[Path], texts: Sequence[str] = ()) -> Given:
    """Inputs without labels, of the task's kind.

    Args:
        model: the task.
        files: pictures and folders of them; texts, a sentence a line; tables; arrays. ``-`` is standard input, a
            sentence (or the path of a picture) a line.
        texts: sentences.

    Raises:
        InputError: for what is not of the task's kind, or where nothing is given.
    """
    from innerloop.core.task import InputError

    kind = kind_of(model)
    if texts and kind != "text":
        raise InputError(f"the task is of {_WORDS[kind]}, and --text gives a sentence: give {_TAKES[kind]}")
    lines = _lines() if "-" in map(str, files) else []
    paths = [path for path in files if str(path) != "-"]
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file {path}: check the path")
    if kind == "images":
        found = _pictures([*paths, *map(Path, lines)])
    elif kind == "text":
        found = _sentences(paths, [*texts, *lines])
    else:
        found = _rows(model, paths)
    if not found.names:
        raise InputError(f"no input was given: give {_TAKES[kind]}")
    return found


def fitting(model: Task, own: OwnData) -> OwnData:
    """Labelled examples of the task's kind and classes, with labels of the task's type.

    Raises:
        InputError: for examples of another kind, or of classes that the task does not know.
    """
    from innerloop.core.labels import listed
    from innerloop.core.task import InputError
    from innerloop.estimators.fewshot import FewShotClassifier

    own, kind = own.labeled(), kind_of(model)
    if not len(own):
        raise InputError(f"{own.origin} has no example with a label: give some")
    if own.kind != kind and {own.kind, kind} != {"table", "vectors"}:
        raise InputError(f"{own.origin} holds {_WORDS[own.kind]}, the task is of {_WORDS[kind]}: give {_TAKES[kind]}")
    if not isinstance(model, FewShotClassifier):
        if own.y.dtype.kind not in "biuf":
            raise InputError(f"the labels of {own.origin} are words, and the task predicts numbers: give numbers")
        return own
    known = {str(label): label for label in model.classes_.tolist()}
    strange = [label for label in own.classes if str(label) not in known]
    if strange:
        count = sum(own.counts[label] for label in strange)
        raise InputError(
            f"{count} examples are of classes that the task does not know ({listed(map(str, strange))}): it knows "
            f"{listed(known)}; teach it with innerloop add, or leave them out"
        )
    return own


def label_of(model: Task, word: str) -> Any:
    """A label as the task's are: a number where these are numbers, or numbers are predicted.

    Raises:
        InputError: for a word where the labels are numbers.
    """
    from innerloop.core.task import InputError
    from innerloop.estimators.fewshot import FewShotClassifier

    if not isinstance(model, FewShotClassifier):
        try:
            return float(word)
        except ValueError:
            raise InputError(f"--label {word}: the task predicts numbers: give one") from None
    kind = model.classes_.dtype.kind
    known = {str(label): label for label in model.classes_.tolist()}
    if word in known:
        return known[word]
    if kind in "UO":
        return word
    try:
        return int(word) if kind in "iu" else float(word)
    except ValueError:
        raise InputError(f"--label {word}: the task's labels are numbers ({', '.join(list(known)[:3])}, ...)") from None


_WORDS = {"images": "pictures", "text": "sentences", "table": "the rows of a table", "vectors": "feature vectors"}
_TAKES = {
    "images": "pictures, or a folder of them",
    "text": "--text, a text file with a sentence a line, or - for standard input",
    "table": "a table with the columns that it learned from",
    "vectors": "an array (.npy) or a table of as many numbers a row",
}


def _lines() -> list[str]:
    return [line for line in (line.strip() for line in sys.stdin) if line]


def _pictures(paths: Sequence[Path]) -> Given:
    from innerloop.core.task import InputError
    from innerloop.data.own.files import kind_of as file_kind
    from innerloop.data.own.files import walk

    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [path / name for name in walk(path) if file_kind(name) == "picture"]
            if not inside:
                raise InputError(f"the folder {path} holds no picture: check the path")
            found += inside
        else:
            found.append(path)
    return Given(list(map(str, found)), list(map(str, found)))


def _sentences(paths: Sequence[Path], texts: Sequence[str]) -> Given:
    from innerloop.core.task import InputError
    from innerloop.data.columns import texts_of
    from innerloop.data.own.frames import read_rows
    from innerloop.data.own.roles import of_sentences

    found = list(texts)
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path} is a folder: give text files, or a table with a column of sentences")
        frame = read_rows(path)
        columns = {name: texts_of(frame.rows, name, frame.file) for name in frame.rows.columns}
        free = of_sentences(columns)
        if len(free) != 1:
            which = "no column" if not free else f"{len(free)} columns ({', '.join(free)})"
            raise InputError(f"{path} has {which} of sentences: give a table with one, or call it text")
        cells = columns[free[0]]
        empty = next((row for row, cell in enumerate(cells, 1) if not cell), None)
        if empty is not None:
            raise InputError(f"row {empty} of {path} has no sentence: fill it in, or take it out")
        found += cells
    return Given(found, found)


def _rows(model: Task, paths: Sequence[Path]) -> Given:
    import numpy as np

    from innerloop.core.labels import listed
    from innerloop.core.task import InputError
    from innerloop.data.own.frames import read_rows

    wanted = getattr(model.transformer_ or model, "feature_names_in_", None)
    parts: list[Any] = []
    names: list[str] = []
    for path in paths:
        if path.suffix == ".npy":
            try:
                rows: Any = np.load(path, allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:
                raise InputError(f"{path} is no array of NumPy ({error}): write it again by numpy.save") from None
            rows = rows[None] if rows.ndim == 1 else rows
        else:
            rows = read_rows(path).rows
            if wanted is not None:
                gone = [name for name in wanted if name not in rows.columns]
                if gone:
                    raise InputError(f"{path} lacks the columns {listed(gone)}: it has {listed(rows.columns)}")
                rows = rows[list(wanted)]
        parts.append(rows)
        names += [f"{path} row {number}" if len(paths) > 1 else f"row {number}" for number in range(1, len(rows) + 1)]
    if len(parts) < 2:
        return Given(parts[0] if parts else None, names)
    if all(isinstance(part, np.ndarray) for part in parts):
        return Given(np.concatenate(parts), names)
    if any(isinstance(part, np.ndarray) for part in parts):
        raise InputError("tables and arrays were given: give files of one kind")
    import pandas as pd

    return Given(pd.concat(parts, ignore_index=True), names)
