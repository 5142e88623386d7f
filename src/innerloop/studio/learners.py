"""Other learners on the same examples: two beside each other, an inner loop step by step, classes that keep coming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from innerloop.core.task import Examples, InputError, did_you_mean
from innerloop.encoders.table import Table
from innerloop.estimators.choice import closed, countable, named_heads, ready
from innerloop.estimators.fewshot import FewShotClassifier
from innerloop.estimators.unlabeled import SOFT_MEANS
from innerloop.evidence import leave_one_out
from innerloop.learners.head import Head
from innerloop.learners.heads.linear import SoftmaxRegression
from innerloop.learners.heads.scaled import Scaled
from innerloop.serve.learning import support_of

#: Gradient steps after which the inner loop is shown, and those that a class gets where classes keep coming.
STEPS = (0, 1, 2, 3, 5, 8, 12, 20, 35, 60, 100)
_PASSES = 30
#: Examples up to which a head that is left out by refits is judged.
_FEW = 100


def names_of(model: FewShotClassifier) -> list[str]:
    """The heads that can be compared on a task."""
    return [name for name in named_heads(model.transformer_) if name != SOFT_MEANS]


def compared(model: FewShotClassifier, names: Sequence[str], x: Tensor) -> list[dict[str, Any]]:
    """What each of some heads says of queries ``[Q, H]``, and how well each tells the examples apart by leave-one-out.

    Args:
        model: fitted.
        names: of heads.
        x: features of queries.

    Raises:
        InputError: for a head that there is not.
    """
    support, known, found = support_of(model), names_of(model), []
    every = named_heads(model.transformer_)
    codes = support.y.argmax(1)
    for name in names:
        if name not in known:
            raise InputError(f"head {name[:40]!r} is unknown{did_you_mean(name, known)}: choose of {', '.join(known)}")
        head = ready(every[name]())
        told = countable(support.y, {name: head})
        judged = bool(told.any()) and (closed(head) or len(codes) <= _FEW)
        with torch.no_grad():
            proba = head.proba(head.adapt(support), x)
            right = leave_one_out(head, support).argmax(1) == codes if judged else None
        found.append(
            {
                "head": name,
                "items": [dict(zip(model.classes_.tolist(), row, strict=True)) for row in proba.tolist()],
                "accuracy": None if right is None else float(right[told].double().mean()),
            }
        )
    return found


def stepped(model: FewShotClassifier, x: Tensor) -> list[dict[str, Any]]:
    """The inner loop of a linear classifier on the features: what it says of a query after each of :data:`STEPS`.

    Args:
        model: fitted.
        x: features of one query, or of none, ``[Q, H]``.

    Returns:
        for each number of steps the loss on the examples (nats), the share of them that are right, and the
        probabilities of the query.
    """
    support, found = support_of(model), []
    for steps in STEPS:
        head = _gradient(model, steps)
        with torch.no_grad():
            state = head.adapt(support)
            raw = head.predict(state, support.x)
            found.append(
                {
                    "step": steps,
                    "loss": float(head.likelihood.nll(raw, support.y).mean()),
                    "accuracy": float((raw[0].argmax(1) == support.y.argmax(1)).double().mean()),
                    "items": [
                        dict(zip(model.classes_.tolist(), row, strict=True)) for row in head.proba(state, x).tolist()
                    ],
                }
            )
    return found


def streamed(model: FewShotClassifier, order: Sequence[str]) -> dict[str, Any]:
    """Classes that come one after the other: what two learners still know of the earlier ones.

    One keeps the examples and learns from all that came so far (the task's head); the other takes gradient steps on
    each new class alone and keeps its weights only. Of each class one example is held back for the test, and never
    learned; each of up to five in turn.

    Args:
        model: fitted.
        order: of the classes, those that came first first; classes with a single example are left out.

    Returns:
        the classes, and for each learner the share right of each class after each arrival, rows of growing length.
    """
    support = support_of(model)
    codes = support.y.argmax(1)
    classes = model.classes_.tolist()
    counts = dict(zip(classes, support.y.sum(0).tolist(), strict=True))
    arrived = [classes.index(name) for name in dict.fromkeys(order) if counts.get(name, 0) > 1]
    if len(arrived) < 2:
        raise InputError("classes that keep coming are tested on examples held back: give two classes two each")
    count = min(5, *(int(counts[classes[code]]) for code in arrived))
    head, loop = ready(model.learner_), _gradient(model, _PASSES)
    keeps, forgets = (torch.zeros(len(arrived), len(arrived), dtype=torch.float64) for _ in range(2))
    for fold in range(count):
        held = torch.stack([(codes == code).nonzero()[fold, 0] for code in arrived])
        out = torch.zeros(len(codes), dtype=torch.bool).scatter(0, held, True)
        state: Any = None
        for place, code in enumerate(arrived):
            seen = ~out & torch.isin(codes, torch.tensor(arrived[: place + 1]))
            now = ~out & (codes == code)
            few = _narrow(support, seen, arrived[: place + 1])
            # Those of the classes so far; of one class there is one answer.
            x, right = support.x[held[: place + 1]], torch.arange(place + 1)
            told = head.predict(head.adapt(few), x)[0].argmax(1) if place else right
            keeps[place, : place + 1] += told == right
            state = loop.adapt(_narrow(support, now, arrived), state)
            forgets[place, : place + 1] += loop.predict(state, x)[0][:, : place + 1].argmax(1) == right
    return {
        "classes": [classes[code] for code in arrived],
        "tests": count,
        "learners": [
            {"name": name, "rows": [(grid[row, : row + 1] / count).tolist() for row in range(len(arrived))]}
            for name, grid in (("keeps", keeps), ("forgets", forgets))
        ],
    }


def _narrow(support: Examples, rows: Tensor, columns: Sequence[int]) -> Examples:
    return Examples(support.x[rows], support.y[rows][:, list(columns)])


def scaled(model: FewShotClassifier, head: Head) -> Scaled:
    """A head on a table's standardized columns: those that its other heads have, a category once."""
    encoder = model.transformer_
    assert isinstance(encoder, Table)
    return Scaled(head, start=encoder.blocks["columns"].start)


def _gradient(model: FewShotClassifier, steps: int) -> Head:
    """A linear classifier that is fitted by so many gradient steps from zero."""
    head = SoftmaxRegression(steps=steps)
    return ready(scaled(model, head) if model.encoder_ == "table" else head)
