"""Reasons of answers: evidence against plain refits, Shapley values against their axioms, sets that turn an answer."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris

import innerloop as il
from innerloop.evidence.shapley import example_values, shapley
from innerloop.evidence.similar import likeness
from innerloop.learners.head import Head

IRIS = load_iris()
X, Y = IRIS.data[::9], IRIS.target_names[IRIS.target[::9]]
QUERIES = IRIS.data[[2, 70, 77, 133]]

HEADS = ["ridge", "logistic", "prototypes", "gaussian", "prototypes-euclidean", "nearest"]


def log_odds(few: il.FewShotClassifier, x: Any, answers: Any) -> Any:
    """From probabilities, of the answers."""
    proba = few.predict_proba(x)[np.arange(len(x)), np.searchsorted(few.classes_, answers)]
    return np.log(proba) - np.log1p(-proba)


@pytest.mark.parametrize("head", HEADS)
def test_evidence_is_that_of_plain_refits(head: str) -> None:
    few = il.FewShotClassifier(head=head).fit(X, Y)
    found = few.explain(QUERIES, turn=False)
    assert [reason.answer for reason in found] == few.predict(QUERIES).tolist()
    answers = few.predict(QUERIES)
    proba = few.predict_proba(QUERIES).max(1)
    for place in range(len(X)):
        kept = np.arange(len(X)) != place
        other = il.FewShotClassifier(head=head).fit(X[kept], Y[kept])
        other.temperature_ = few.temperature_
        expected = log_odds(few, QUERIES, answers) - log_odds(other, QUERIES, answers)
        np.testing.assert_allclose(found.evidence[:, place], expected, rtol=1e-4, atol=1e-6)
        left = other.predict_proba(QUERIES)[np.arange(4), np.searchsorted(few.classes_, answers)]
        np.testing.assert_allclose([reason.shift[place] for reason in found], proba - left, atol=1e-9)
    assert [reason.probability for reason in found] == pytest.approx(proba.tolist())


def test_evidence_of_prototypes_by_hand() -> None:
    """Leaving out an example moves one mean."""
    x, y = np.array([[0.0], [2.0], [10.0], [13.0]]), ["a", "a", "b", "b"]
    few = il.FewShotClassifier(head="prototypes-euclidean").fit(x, y)
    few.temperature_ = 1.0
    (reason,) = few.explain([[4.0]], turn=False)
    with_all = -((4 - 1.0) ** 2) + (4 - 11.5) ** 2
    without = [-(2.0**2) + 7.5**2, -(4.0**2) + 7.5**2, -(3.0**2) + 9.0**2, -(3.0**2) + 6.0**2]
    np.testing.assert_allclose(reason.evidence, with_all - np.array(without))
    assert reason.supporting.tolist() == [3, 1]
    assert reason.opposing.tolist() == [2, 0]
    assert (reason.contradicting, reason.nearest, reason.nearest_other) == (2, 1, 2)


def test_the_only_example_of_a_class_is_all_that_speaks_for_it() -> None:
    few = il.FewShotClassifier().fit([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]], ["one", "two", "two"])
    (reason,) = few.explain([[1.0, 0.1]])
    assert reason.answer == "one"
    assert reason.evidence[0] == np.inf
    assert reason.turn is not None
    assert (reason.turn.without, reason.turn.answer) == ((0,), "two")
    assert "+inf  one  0" in str(reason)


@pytest.mark.parametrize("head", ["ridge", "prototypes", "nearest"])
def test_a_turn_turns_the_answer_and_none_of_it_can_stay(head: str) -> None:
    few = il.FewShotClassifier(head=head).fit(X, Y)
    sizes = []
    for query, reason in zip(QUERIES, few.explain(QUERIES), strict=True):
        assert reason.turn is not None
        gone = list(reason.turn.without)
        sizes.append(len(gone))
        assert refitted(few, gone, query) == reason.turn.answer != reason.answer
        for stays in gone:
            assert refitted(few, [place for place in gone if place != stays], query) == reason.answer
    assert max(sizes) <= 6


def refitted(few: il.FewShotClassifier, gone: list[int], query: Any) -> str:
    kept = np.delete(np.arange(len(X)), gone)
    return str(il.FewShotClassifier(head=few.head).fit(X[kept], Y[kept]).predict([query])[0])


def test_a_turn_of_a_nearest_neighbor_is_the_smallest() -> None:
    """Every example nearer than the nearest of another class has to go, and no other."""
    x = np.array([[0.0], [0.2], [0.4], [1.0], [5.0], [6.0]])
    few = il.FewShotClassifier(head="nearest-euclidean").fit(x, ["a", "a", "a", "b", "b", "a"])
    (reason,) = few.explain([[0.1]])
    assert reason.turn is not None
    assert set(reason.turn.without) == {0, 1, 2}


@pytest.mark.parametrize("head", ["ridge", "prototypes"])
def test_shapley_values_are_the_sums_over_all_subsets(head: str) -> None:
    x, y = X[[0, 1, 6, 7, 12]], Y[[0, 1, 6, 7, 12]]
    few = il.FewShotClassifier(head=head).fit(x, y)
    (reason,) = few.explain(QUERIES[1:2], shapley=True, turn=False)
    assert reason.shapley is not None
    assert reason.shapley_error is not None
    assert not reason.shapley_error.any()

    def worth(places: tuple[int, ...]) -> float:
        if not places:
            return 1 / 3
        labels = y[list(places)]
        if len(set(labels)) == 1:
            return float(labels[0] == reason.answer)
        other = il.FewShotClassifier(head=head).fit(x[list(places)], labels)
        other.temperature_ = few.temperature_
        columns = list(other.classes_)
        return other.predict_proba(QUERIES[1:2])[0, columns.index(reason.answer)] if reason.answer in columns else 0.0

    for place in range(5):
        others = [other for other in range(5) if other != place]
        expected = sum(
            math.factorial(size)
            * math.factorial(4 - size)
            / math.factorial(5)
            * (worth(tuple(sorted((*subset, place)))) - worth(subset))
            for size in range(5)
            for subset in itertools.combinations(others, size)
        )
        assert reason.shapley[place] == pytest.approx(expected, abs=1e-5)
    assert reason.shapley.sum() == pytest.approx(reason.probability - 1 / 3)


def test_shapley_of_a_sum_is_its_parts_exactly_and_by_orders() -> None:
    for players in (5, 15):
        parts = torch.arange(players, dtype=torch.float64)
        found = shapley(lambda who, parts=parts: (who.double() @ parts).unsqueeze(1), players, orders=5)
        np.testing.assert_allclose(found.values[0], parts)
        assert found.exact == (players == 5)
        np.testing.assert_allclose(found.error, 0, atol=1e-12)


def test_sampled_shapley_values_lie_within_their_errors() -> None:
    """A game of 13 whose values are known: 0 and 1 win together, and share it."""
    found = shapley(lambda who: who[:, :2].all(1, keepdim=True).double(), 13, orders=400)
    assert bool(((found.values[0, :2] - 0.5).abs() < 4 * found.error[0, :2]).all())
    assert not found.values[0, 2:].any()
    assert float(found.values.sum()) == pytest.approx(1)
    assert 0.02 < float(found.error[0, 0]) < 0.03


def test_groups_come_and_go_together() -> None:
    few = il.FewShotClassifier(head="prototypes").fit(X, Y)
    support = il.Examples(torch.from_numpy(X), torch.eye(3, dtype=torch.float64)[np.unique(Y, return_inverse=True)[1]])
    groups = [np.flatnonzero(name == Y).tolist() for name in few.classes_]
    head = il.learners.Prototypes(distance="cosine").double()
    found = example_values(head, support, torch.from_numpy(QUERIES[:1]), torch.tensor([0]), groups=groups)
    assert found.exact
    assert found.values.shape == (1, 3)
    # The class itself adds, the others take away.
    assert float(found.values[0, 0]) > 0 > float(found.values[0, 1:].max())
    with pytest.raises(il.InputError, match="orders is 1; it must be at least 2"):
        shapley(lambda who: who.double(), 3, orders=1)


def test_likeness_is_the_heads_own() -> None:
    known, x = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[2.0, 0.0]])
    cosine: list[Head] = [il.learners.Ridge(), il.learners.NearestNeighbor(), il.learners.Prototypes(distance="cosine")]
    for head in cosine:
        np.testing.assert_allclose(likeness(head, known, x), [[1, 0]])
    plain: list[Head] = [il.learners.Ridge(normalize=False), il.learners.Prototypes(), il.learners.GaussianClasses()]
    for head in plain:
        np.testing.assert_allclose(likeness(head, known, x), [[-1, -(13**0.5)]])


@pytest.mark.parametrize("head", ["ridge", "gp", "nearest"])
def test_evidence_of_numbers_is_that_of_plain_refits(head: str) -> None:
    x, y = load_diabetes(return_X_y=True)
    few = il.FewShotRegressor(head=head).fit(x[:12], y[:12])
    found = few.explain(x[20:23])
    assert [reason.answer for reason in found] == pytest.approx(few.predict(x[20:23]).tolist())
    for place in range(12):
        kept = np.arange(12) != place
        expected = few.predict(x[20:23]) - il.estimators.smoothers.predict(
            few.settings_[head], x[:12][kept], y[:12][kept], x[20:23]
        )
        np.testing.assert_allclose(found.evidence[:, place], expected, atol=1e-6)
    assert "pulls up" in str(found)
    assert found[0].turn is None


def test_a_table_is_explained_too() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": [1.0, 1.1, None, 9.0, 9.5, 8.8], "kind": list("aababb")})
    labels = ["small", "small", "small", "large", "large", "large"]
    few = il.FewShotClassifier().fit(frame, labels)
    (reason,) = few.explain(frame[:1])
    assert reason.answer == "small"
    assert reason.nearest == 0
    assert np.isfinite(reason.shift).all()
    few_number = il.FewShotRegressor().fit(frame, [1.0, 1.2, 2.0, 9.0, 9.3, 8.0])
    assert few_number.explain(frame[:1])[0].evidence.shape == (6,)


def test_it_reads_well() -> None:
    names = [f"picture {number} <b>" for number in range(len(X))]
    few = il.FewShotClassifier(head="prototypes").fit(X, Y)
    few.names_ = np.array(names)
    found = few.explain(QUERIES[1:3], k=2)
    text = str(found[0])
    assert text.splitlines()[0].startswith(f"{found[0].answer}, probability 0.")
    assert text.count("picture") <= 2 + 2 + 2 + len(found[0].turn.without)  # type: ignore[union-attr]
    assert "it would be " in text
    page = found._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert str(found) == f"{found[0]}\n\n{found[1]}"
    assert len(found) == 2
