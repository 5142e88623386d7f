"""What is known of a task's examples: where they lie, which are suspect, and how well they tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innerloop.core.task import Examples
from innerloop.estimators.fewshot import FewShotClassifier
from innerloop.evidence import answered, leave_one_out
from innerloop.evidence.plane import plane
from innerloop.serve.learning import support_of

#: Examples up to which refits are made, and draws of examples for each number of shots.
_FEW, _DRAWS = 400, 20


def insights(model: FewShotClassifier, ids: Sequence[str]) -> dict[str, Any]:
    """What is known of a task's examples, as plain values.

    Args:
        model: fitted.
        ids: of its examples, in their order, ``[N]``.
    """
    classes, labels = model.classes_.tolist(), model.y_.tolist()
    codes = np.searchsorted(model.classes_, model.y_)
    points, share = plane(np.nan_to_num(model.X_))
    low, high = model.accuracy_interval_
    found: dict[str, Any] = {
        "classes": classes,
        "encoder": model.encoder_,
        "head": model.head_,
        "accuracy": None if np.isnan(model.accuracy_) else model.accuracy_,
        "accuracy_interval": [low, high],
        "map": {
            "spread": None if np.isnan(share) else share,
            "points": [
                {"example": one, "label": label, "x": x, "y": y}
                for one, label, (x, y) in zip(ids, labels, points.tolist(), strict=True)
            ],
        },
    }
    if len(ids) > _FEW:
        return {**found, "suspects": None, "left_out": None, "confusion": None, "accuracy_by_shots": None}
    support = support_of(model)
    suspects = [
        {"example": ids[one.place], "label": one.label, "likelier": one.likelier, "suspicion": one.suspicion}
        for one in model.suspects()
        if np.isfinite(one.suspicion)
    ]
    told = leave_one_out(model.learner_, support).argmax(1).tolist()
    # The only example of its class can be told by no other.
    lone = np.bincount(codes, minlength=len(classes))[codes] == 1
    cells: dict[tuple[int, int], list[str]] = {}
    for one, truth, answer, alone in zip(ids, codes.tolist(), told, lone.tolist(), strict=True):
        if not alone:
            cells.setdefault((truth, answer), []).append(one)
    return {
        **found,
        "suspects": suspects,
        "left_out": [
            {"example": one, "label": label, "answer": None if alone else classes[answer]}
            for one, label, answer, alone in zip(ids, labels, told, lone.tolist(), strict=True)
        ],
        "confusion": [
            {"label": classes[truth], "answer": classes[answer], "examples": members}
            for (truth, answer), members in sorted(cells.items())
        ],
        "accuracy_by_shots": by_shots(model, support),
    }


def by_shots(model: FewShotClassifier, support: Examples) -> list[dict[str, Any]]:
    """The share of right answers to the other examples, learned from so many of each class, as far as there are more.

    Args:
        model: fitted, whose head learns.
        support: its examples.

    Returns:
        for each number of shots the mean over draws of examples, and its standard error.
    """
    codes = support.y.argmax(1)
    members = [(codes == code).nonzero().squeeze(1) for code in range(support.y.shape[1])]
    most = min(map(len, members)) - 1
    found = []
    generator = torch.Generator().manual_seed(0)
    for shots in (number for number in (1, 2, 3, 5, 10, 20) if number <= most):
        subsets = torch.stack([_drawn(members, shots, generator) for _ in range(_DRAWS)])
        answers = answered(model.learner_, support, subsets, support.x).argmax(2)
        out = torch.ones(_DRAWS, len(codes), dtype=torch.bool).scatter(1, subsets, False)
        right = ((answers == codes) & out).sum(1) / out.sum(1)
        error = float(right.std() / _DRAWS**0.5)
        found.append({"shots": shots, "accuracy": float(right.mean()), "error": error})
    return found


def _drawn(members: Sequence[Tensor], shots: int, generator: torch.Generator) -> Tensor:
    """So many examples of each class."""
    return torch.cat([one[torch.randperm(len(one), generator=generator)[:shots]] for one in members])
