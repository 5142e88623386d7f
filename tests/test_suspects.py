"""Examples with a wrong label, as the classifier names them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

import innerloop as il
from innerloop.estimators.suspects import quick

IRIS = load_iris()


@pytest.mark.parametrize("head", ["ridge", "prototypes-euclidean", "nearest", "gaussian", "logistic", "auto"])
def test_the_wrong_label_comes_first_with_the_right_one(head: str) -> None:
    X, y = IRIS.data[::10], IRIS.target_names[IRIS.target[::10]].copy()
    y[2] = "virginica"
    found = il.FewShotClassifier("features", head).fit(X, y).suspects()
    assert found[0][:4] == (2, "2", "virginica", "setosa")
    assert found[0].suspicion > 0
    assert sorted(one.place for one in found) == list(range(15))
    scores = [one.suspicion for one in found]
    assert scores == sorted(scores, reverse=True)
    assert all(one.label != one.likelier for one in found)


def test_refits_that_take_long_are_told_one_by_one() -> None:
    wide = IRIS.data[::10] @ np.random.default_rng(0).normal(size=(4, 6000))
    y = IRIS.target[::10].copy()
    y[3] = 2
    few = il.FewShotClassifier("features", il.learners.LogisticRegression()).fit(wide, y)
    assert not quick(few.learner_, il.Examples(torch.from_numpy(few.X_), torch.eye(3)[torch.from_numpy(few.y_)]))
    first = few.suspects()[0]
    assert (first.place, first.likelier) == (3, 0)
    assert first.suspicion > 0


def test_nothing_is_known_of_a_single_example() -> None:
    found = il.FewShotClassifier("features", "ridge").fit([[0.0], [0.1], [5.0]], ["a", "a", "b"]).suspects()
    assert found[-1].place == 2
    assert found[-1].suspicion == -np.inf
