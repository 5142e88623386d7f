"""Extra trees beside the in-context network: by hand, beside scikit-learn's, among other tables as alone."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score

import innerloop as il
from innerloop.estimators.trees import Forest

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 30, 5))
X[:, 4, 2] = np.nan
LABELS = RANDOM.integers(0, 3, (3, 30))
ASKED = RANDOM.normal(size=(7, 5))


def test_a_threshold_lies_anywhere_between_two_rows() -> None:
    found = Forest(np.array([[[0.0], [4.0]]]), np.array([[0, 1]]), 2, trees=4000)
    p = found.probabilities(np.array([[-1.0], [1.0], [2.0], [5.0], [np.nan]]))[0, :, 0]
    np.testing.assert_allclose(p, [1, 0.75, 0.5, 0, 0.5], atol=0.03)


def test_the_better_of_two_columns_splits() -> None:
    """Of four columns two are drawn: the one that tells the classes wins wherever it is among them, half the time."""
    x = np.array([[0.0, 0, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 0]])
    grown = next(iter(Forest(x[None], np.array([[0, 0, 1, 1]]), 2, trees=4000)._grow()))
    assert (grown.column[:4000] == 0).mean() == pytest.approx(0.5, abs=0.03)


def test_rows_of_distinct_cells_are_told_exactly() -> None:
    p = Forest(X, LABELS, 3).probabilities(X[1])
    np.testing.assert_array_equal(p[1], np.eye(3)[LABELS[1]])


def test_equal_rows_share_a_leaf() -> None:
    x = np.array([[1.0, 2], [1, 2], [1, 2], [5, 2]])
    p = Forest(x[None], np.array([[0, 0, 1, 1]]), 2).probabilities(x[[0, 3]])[0]
    np.testing.assert_allclose(p, [[2 / 3, 1 / 3], [0, 1]], rtol=1e-6)


def test_a_table_among_others_is_as_alone() -> None:
    x = X.copy()
    x[1, :, 1] = 4.0
    together = Forest(x, LABELS, 3, seed=5).probabilities(ASKED)
    for one, labels, p in zip(x, LABELS, together, strict=True):
        np.testing.assert_array_equal(Forest(one[None], labels[None], 3, seed=5).probabilities(ASKED)[0], p)


def test_neither_names_nor_order_nor_constant_columns_nor_units_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Forest(X, LABELS, 3).probabilities(ASKED)
    for order in permutations(range(3)):
        p = Forest(X, np.array(order)[LABELS], 3).probabilities(ASKED)
        np.testing.assert_array_equal(p[:, :, order], wanted)
    rows = RANDOM.permutation(30)
    np.testing.assert_array_equal(Forest(X[:, rows], LABELS[:, rows], 3).probabilities(ASKED), wanted)
    wider, asked = np.insert(X, [0, 2, 5], 3.0, axis=2), np.insert(ASKED, [0, 2, 5], 8.0, axis=1)
    np.testing.assert_array_equal(Forest(wider, LABELS, 3).probabilities(asked), wanted)
    np.testing.assert_array_equal(Forest(2.0**990 * X, LABELS, 3).probabilities(2.0**990 * ASKED), wanted)
    monkeypatch.setattr("innerloop.estimators.trees._CELLS", 500)
    np.testing.assert_array_equal(Forest(X, LABELS, 3).probabilities(ASKED), wanted)


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer])
def test_as_good_as_those_of_scikit_learn(load: object) -> None:
    """Mean AUC over 8 draws of 40 rows, within a hundredth."""
    x, y = load(return_X_y=True)
    gaps = []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(y))
        known, asked = order[:40], order[40:190]
        ours = Forest(x[known][None], y[known][None], int(y.max()) + 1, seed=seed).probabilities(x[asked])[0]
        theirs = ExtraTreesClassifier(random_state=seed).fit(x[known], y[known]).predict_proba(x[asked])
        truth = np.eye(ours.shape[1])[y[asked]]
        gaps.append(roc_auc_score(truth, ours, average="macro") - roc_auc_score(truth, theirs, average="macro"))
    assert np.mean(gaps) == pytest.approx(0, abs=0.01)


def test_twenty_six_classes_and_the_largest_cells() -> None:
    y = np.arange(78) % 26
    x = np.random.default_rng(0).permutation(26)[y][:, None] * [1.0, 1e298] + [0.0, 1e299]
    model = il.InContextClassifier(n_estimators=1, trees=30).fit(x, y)
    p = model.predict_proba(x)
    assert (p.argmax(1) == y).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert np.isfinite(model.predict_proba([[np.nan, -1e308]])).all()


@pytest.mark.parametrize("trees", [-1, 2.5, "many"])
def test_trees_that_are_no_number_are_refused(trees: object) -> None:
    with pytest.raises(il.InputError, match=r"trees is .*at least 0"):
        il.InContextClassifier(trees=trees).fit([[0.0], [1.0]], [0, 1])
