"""How sharp the mean of network and trees is: by hand, beside scikit-learn's log loss, and what must not change it."""

from __future__ import annotations

import pickle
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss

import innerloop as il
from innerloop.estimators.sharpened import WEIGHTS, Sharpened, left_out, told
from innerloop.estimators.trees import Forest

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 30, 5))
X[:, 4, 2] = np.nan
LABELS = np.sort(RANDOM.integers(0, 3, (3, 30)), 1)
ASKED = RANDOM.normal(size=(7, 5))


def sharpened(x: np.ndarray, labels: np.ndarray, places: np.ndarray | None = None) -> Sharpened:
    return Sharpened(x, labels, labels if places is None else places, 3, trees=20, seed=5)


def test_the_classifier_is_the_sharpened_mean_and_pickles_to_the_bit() -> None:
    x, y = load_iris(return_X_y=True)
    both, alone = (il.InContextClassifier(trees=trees).fit(x[::3], y[::3]) for trees in (100, 0))
    trees = both._sharpened.forest.probabilities(x)[0][:, np.argsort(both._order)]
    rates = np.bincount(y[::3]) / len(y[::3])
    (power,) = both._sharpened.powers
    wanted = rates * ((alone.predict_proba(x) + trees) / 2 / rates) ** power
    p = both.predict_proba(x)
    np.testing.assert_allclose(p, wanted / wanted.sum(1, keepdims=True), rtol=1e-4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(both)).predict_proba(x), p)
    assert alone._sharpened is None


def test_a_row_is_answered_for_by_trees_that_have_not_seen_it() -> None:
    """Another label of a row changes answers of other parts, and none of its own part."""
    before = left_out(X, LABELS, 3, 0)
    other = LABELS.copy()
    other[:, 8] = (other[:, 8] + 1) % 3
    after = left_out(X, other, 3, 0)
    same = np.arange(30) % 4 == 0
    np.testing.assert_array_equal(after[:, same], before[:, same])
    assert (after[:, ~same] != before[:, ~same]).any((1, 2)).all()
    wanted = Forest(X[:, ~same], LABELS[:, ~same], 3, trees=25, seed=0).probabilities(X[:, same])
    np.testing.assert_array_equal(before[:, same], wanted)


def test_the_trees_power_is_the_mean_by_its_log_loss() -> None:
    """Beside scikit-learn's log loss at each power, and a prior on its logarithm."""
    labels = LABELS[0]
    found = RANDOM.dirichlet([1.0, 1.0, 1.0], 30) * 0.6 + 0.4 * np.eye(3)[labels]
    rates = np.bincount(labels) / 30
    smooth = found * (29 / 30) + rates / 30
    grid = np.linspace(np.log(0.4), np.log(4.0), 47)
    losses = []
    for power in np.exp(grid):
        p = rates * (smooth / rates) ** power
        losses.append(log_loss(labels, p / p.sum(1, keepdims=True), normalize=False) + np.log(power) ** 2)
    likely = np.exp(min(losses) - np.array(losses))
    wanted = [1.0, np.log(30 / 50), 0.0, likely @ grid / likely.sum()]
    np.testing.assert_allclose(told(found[None], labels[None])[0], wanted, rtol=1e-9)


def test_it_is_sharper_where_classes_lie_apart_and_with_more_rows() -> None:
    noise = RANDOM.integers(0, 2, 80)
    apart = np.repeat([0, 1], 40)
    x = apart[:, None] * 10.0 + RANDOM.normal(size=(80, 2))
    found = {}
    for name, labels, rows in (("noise", noise, 80), ("apart", apart, 80), ("few", apart, 20)):
        some = np.linspace(0, 79, rows).astype(int)
        found[name] = sharpened(x[some][None], labels[some][None]).powers[0]
    assert found["noise"] < 1 < found["few"] < found["apart"]


def test_a_table_is_as_sharp_among_others_as_alone() -> None:
    together = sharpened(X, LABELS)
    network = torch.full((3, 7, 3), 1 / 3)
    for i, p in enumerate(together.beside(network, ASKED)):
        alone = sharpened(X[i : i + 1], LABELS[i : i + 1])
        np.testing.assert_allclose(alone.powers[0], together.powers[i], rtol=1e-12)
        torch.testing.assert_close(alone.beside(network[:1], ASKED)[0], p, rtol=0, atol=1e-7)


def test_neither_names_nor_orders_nor_constant_columns_change_it() -> None:
    wanted = sharpened(X, LABELS).powers
    for order in permutations(range(3)):
        # The names change, the places that follow from the rows do not.
        np.testing.assert_allclose(sharpened(X, np.array(order)[LABELS], LABELS).powers, wanted, rtol=1e-12)
    rows = RANDOM.permutation(30)
    np.testing.assert_array_equal(sharpened(X[:, rows], LABELS[:, rows]).powers, wanted)
    wider = np.concatenate((np.full((3, 30, 1), 7.0), X, np.full((3, 30, 1), np.nan)), 2)
    np.testing.assert_array_equal(sharpened(wider, LABELS).powers, wanted)
    np.testing.assert_array_equal(sharpened(2.0**990 * X, LABELS).powers, wanted)


def test_a_class_without_a_row_counts_nothing() -> None:
    """Refits have the places of all classes, an estimator of the same rows those of its own."""
    labels = LABELS[:1] % 2
    wider = Sharpened(X[:1], labels, labels, 5, trees=20, seed=5)
    np.testing.assert_allclose(wider.powers, Sharpened(X[:1], labels, labels, 2, trees=20, seed=5).powers, rtol=1e-12)
    assert (wider.beside(torch.full((1, 7, 5), 0.2), ASKED)[..., 2:] == 0).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_few_rows(rows: int) -> None:
    labels = np.arange(rows)[None] % 2
    (power,) = np.exp(told(left_out(X[:1, :rows], labels, 2, 0), labels) @ WEIGHTS)
    assert 0.1 < power < 2
    x, y = X[0, :rows], labels[0]
    if rows > 1:
        p = il.InContextClassifier(trees=10).fit(x, y).predict_proba(ASKED)
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
