"""A task's examples to a classifier, and its answers as plain values."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.task import Examples, InputError
from innerloop.estimators.fewshot import FewShotClassifier
from innerloop.estimators.known import rows_of
from innerloop.estimators.unknown import strangeness
from innerloop.serve.given import Given
from innerloop.serve.problems import Problem

#: Shares that are promised unless others are asked for: of sets that hold the true class, of known queries rejected.
COVERAGE, ERROR = 0.9, 0.1
#: Examples that an answer names as its evidence.
_NAMED = 10
#: One task is learned from or asked at a time: together they would take as long, and each of them longer.
_turn = threading.Lock()


class Adapted(NamedTuple):
    """A task that was learned."""

    model: FewShotClassifier
    columns: tuple[str, ...] | None
    """Of rows whose cells go by name."""


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """What the mathematics refuses is the inputs', and no fault of ours."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, ArithmeticError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        raise InputError(
            f"the task cannot be {what} with these numbers: give them in one unit, and not all alike"
        ) from None


def check_ready(labels: Sequence[str]) -> None:
    """Whether there is something to tell apart.

    Raises:
        Problem: 409.
    """
    classes = sorted(set(labels))
    if len(classes) < 2:
        has = f"one class ({classes[0]!r})" if classes else "no example"
        raise Problem(409, f"the task has {has}: add examples of two classes at least, then ask again")


def adapted(inputs: Any, labels: Sequence[str], options: Mapping[str, Any], encoder: Given | str) -> Adapted:
    """Learn a task.

    Args:
        inputs: features or vectors ``[N, H]``; or rows, all with names or all without.
        labels: ``[N]``, of two classes at least.
        options: ``head`` and ``class_names``.
        encoder: of the features, or its name.

    Raises:
        InputError: for inputs that do not go together.
    """
    columns = None
    if encoder == "table":
        columns = columns_of(inputs)
        inputs = cells_of(inputs, columns)
    with _turn, _in_words("learned"):
        model = FewShotClassifier(encoder, options["head"], options["class_names"])
        return Adapted(model.fit(inputs, np.array(labels)), columns)


def columns_of(rows: Sequence[Any]) -> tuple[str, ...] | None:
    """The names of the columns of rows, sorted; ``None`` where they have none.

    Raises:
        InputError: for rows of both kinds, or of several lengths.
    """
    named = {isinstance(row, dict) for row in rows}
    if len(named) > 1:
        raise InputError("some rows name their columns and others do not: give all rows alike")
    if named == {True}:
        return tuple(sorted({name for row in rows for name in row}))
    sizes = sorted({len(row) for row in rows})
    if len(sizes) > 1:
        raise InputError(f"rows have {sizes[0]} to {sizes[-1]} cells: give all rows of one length")
    return None


def cells_of(rows: Sequence[Any], columns: tuple[str, ...] | None) -> list[list[Any]]:
    """Rows as lists of cells; those that are not named are missing.

    Raises:
        InputError: for a column that no example has.
    """
    found = []
    for place, row in enumerate(rows):
        if (columns is None) == isinstance(row, dict):
            how = "name their columns" if columns is not None else "do not name their columns"
            raise InputError(f"row {place}: the examples {how}: give rows alike")
        if columns is not None and (other := sorted(set(row) - set(columns))):
            raise InputError(f"row {place} has the column {other[0][:60]!r}, which no example has")
        found.append([row.get(name) for name in columns] if columns is not None else list(row))
    return found


class Promises(NamedTuple):
    """What is promised of the answers of a task."""

    coverage: float
    """The share of sets that hold the true class."""
    error: float | None
    """The share of queries of known classes that are rejected, at most; ``None`` where nothing can be told."""


def promises(model: FewShotClassifier, coverage: float | None) -> Promises:
    """What so many examples can promise.

    Args:
        model: of the task.
        coverage: that is asked for; default 0.9, or what the examples can promise.
    """
    counts = np.unique(model.y_, return_counts=True)[1]
    among = len(model.y_) + 1
    error = max(ERROR, float((counts == 1).sum() + 1) / among)
    return Promises(min(COVERAGE, 1 - 1 / among) if coverage is None else coverage, error if error < 1 else None)


def answers(state: Adapted, inputs: Any, promised: Promises, ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """What a task says of queries.

    Args:
        state: the task.
        inputs: Q of them, as it learned from.
        promised: of the answers.
        ids: of the examples, in their order, to say what each of them did.

    Raises:
        InputError: for inputs of another kind, or a coverage that so few examples cannot promise.
    """
    model, inputs = state.model, _taken(state, inputs)
    with _turn, _in_words("answered"):
        proba = model.predict_proba(inputs)
        sets = model.predict_set(inputs, promised.coverage)
        strange = strangeness(support_of(model), _features(model, inputs), model.transformer_)
        rejected = [None] * len(proba) if promised.error is None else strange.rejected(promised.error).tolist()
        reasons = [None] * len(proba) if ids is None else list(model.explain(inputs, turn=False))
    if not (np.isfinite(proba).all() and strange.score.isfinite().all()):
        raise InputError("the numbers of examples and queries are too far apart to be compared: give them in one unit")
    classes = model.classes_.tolist()
    items = []
    for row, inside, score, out, reason in zip(proba, sets, strange.score.tolist(), rejected, reasons, strict=True):
        one = {
            "label": classes[int(row.argmax())],
            "probabilities": dict(zip(classes, row.tolist(), strict=True)),
            "set": inside.tolist(),
            "none_of_these": out,
            "unknown": score,
        }
        if reason is not None and ids is not None:
            one["evidence"] = _evidence(reason.evidence, reason.shift, ids)
        items.append(one)
    return items


def support_of(model: FewShotClassifier) -> Examples:
    """What a model learned from: features ``[N, H]``, one-hot rows ``[N, D]``, float64."""
    codes = np.searchsorted(model.classes_, model.y_)
    return Examples(torch.from_numpy(np.array(model.X_)), rows_of(codes, len(model.classes_)))


def features_of(state: Adapted, inputs: Any) -> Tensor:
    """Features of queries, as a task learned from them, float64 ``[Q, H]``.

    Raises:
        InputError: for inputs of another kind.
    """
    return _features(state.model, _taken(state, inputs))


def _taken(state: Adapted, inputs: Any) -> Any:
    """Queries as the classifier takes them."""
    model = state.model
    if model.encoder_ == "table":
        return cells_of(inputs, state.columns)
    if model.transformer_ is None and inputs.shape[1] != model.X_.shape[1]:
        raise InputError(f"the vectors have {inputs.shape[1]} numbers, those of the examples {model.X_.shape[1]}")
    return inputs


def _features(model: FewShotClassifier, inputs: Any) -> Tensor:
    encoder = model.transformer_
    x = np.asarray(inputs if encoder is None else encoder.transform(inputs), dtype=np.float64)
    return torch.from_numpy(x)


def _evidence(amounts: npt.NDArray[Any], shifts: npt.NDArray[Any], ids: Sequence[str]) -> list[dict[str, Any]]:
    """The examples that did most, those first; an amount without limit, where its class goes with it, is ``None``."""
    order = np.argsort(-np.abs(shifts), kind="stable")[:_NAMED]
    return [
        {
            "example": ids[place],
            "amount": float(amounts[place]) if np.isfinite(amounts[place]) else None,
            "probability": float(shifts[place]),
        }
        for place in order.tolist()
    ]
