"""How sure a learner is of an answer, as a number: plain scores, and one that is learned from other tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.evidence.answers import OTHER_CLASSES, Answers, Seen, probabilities

Floats = npt.NDArray[np.float64]
#: Logits may be minus infinity, for a class without support.
_LEAST = 1e-12


def plain_scores(likelihood: Likelihood, seen: Seen) -> dict[str, Floats]:
    """Scores that a learner has by itself, each larger for a query that it knows better, ``[T, Q]``.

    ``probability`` is the largest one; ``energy`` the logarithm of the summed exponentials of the logits (Liu et al.,
    NeurIPS 2020, https://arxiv.org/abs/2010.03759), which says something where logits are not free to shift;
    ``distance`` minus the one from the nearest class's mean support feature.

    Args:
        likelihood: of the learner.
        seen: what it answers.
    """
    found = {"probability": probabilities(likelihood, seen).amax(-1).numpy()}
    if isinstance(likelihood, Categorical):
        found["energy"] = seen.raw.logsumexp(-1).mean(1).numpy()
    if seen.distance is not None:
        found["distance"] = -seen.distance.numpy()
    return found


class LearnedScore:
    """A score learned on validation tasks: a logistic regression on what the plain scores say together.

    Args:
        found: answers to validation tasks, with strangers of other classes where it is to tell them.
        target: ``"right"``: whether an answer is right; ``"own"``: whether a query belongs to a class of its task.

    Example:
        >>> import innerloop as il
        >>> from innerloop.evidence.answers import answers
        >>> pool = il.Pool.of(torch.randn(60, 3), [i % 6 for i in range(60)])
        >>> tasks = il.FewShot(pool, ways=2, shots=1, queries=4)
        >>> found = answers(il.ProtoNet(torch.nn.Identity()), tasks, tasks=9, strangers=True)
        >>> LearnedScore(found, "own")(found.likelihood, found.own).shape
        (9, 8)
    """

    def __init__(self, found: Answers, target: str) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        rows = _features(found.likelihood, found.own)
        if target == "right":
            truth = found.right.numpy().ravel()
        else:
            strange = _features(found.likelihood, found.strangers[OTHER_CLASSES])
            truth = np.r_[np.ones(len(rows), bool), np.zeros(len(strange), bool)]
            rows = np.concatenate((rows, strange))
        self._constant = len(np.unique(truth)) < 2
        self._model: Any = make_pipeline(
            StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(), LogisticRegression(C=1.0)
        )
        if not self._constant:
            self._model.fit(rows, truth)

    def __call__(self, likelihood: Likelihood, seen: Seen) -> Floats:
        """The log odds of each query, ``[T, Q]``; where validation had one kind only, those of the probability."""
        rows = _features(likelihood, seen)
        odds = rows[:, 0] if self._constant else self._model.decision_function(rows)
        found: Floats = odds.reshape(seen.raw.shape[0], -1)
        return found


def _features(likelihood: Likelihood, seen: Seen) -> Floats:
    """The log odds of the likeliest class, its lead over the second, the entropy, and the other plain scores."""
    proba = probabilities(likelihood, seen)
    first, second = proba.topk(2, -1).values.clamp(min=_LEAST).unbind(-1)
    rest = (1 - first).clamp(min=_LEAST)
    entropy = -(proba * proba.clamp(min=_LEAST).log()).sum(-1)
    columns = [(first / rest).log(), (first / second).log(), entropy]
    scores = plain_scores(likelihood, seen)
    if "energy" in scores:
        columns.append(torch.from_numpy(scores["energy"]))
    if seen.distance is not None:
        columns.append(seen.distance.clamp(min=_LEAST).log())
    return torch.stack([column.flatten() for column in columns], 1).numpy()
