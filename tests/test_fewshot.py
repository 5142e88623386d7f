"""The few-shot classifier on ready features: scikit-learn's checks, honest estimates, sets with a guarantee."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import innerloop as il
from innerloop.estimators.choice import HEADS, candidates, choose, held_out
from innerloop.evidence import conformal_ranks, leave_one_out

IRIS = load_iris()
X, Y = IRIS.data, IRIS.target


def blobs(
    random: np.random.Generator, counts: Any, features: int = 8, apart: float = 1.0, queries: int = 200
) -> tuple[Any, Any, Any, Any]:
    """Examples and labels, and queries and their labels, of normal classes of one width."""
    centers = apart * random.normal(size=(len(counts), features))
    y, yq = (
        np.repeat(np.arange(len(counts)), counts),
        random.choice(len(counts), queries, p=np.array(counts) / sum(counts)),
    )
    return tuple(  # type: ignore[return-value]
        part for labels in (y, yq) for part in (centers[labels] + random.normal(size=(len(labels), features)), labels)
    )


@parametrize_with_checks([il.FewShotClassifier()])
def test_it_is_a_scikit_learn_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("head", ["auto", *HEADS])
def test_every_head_learns_iris(head: str) -> None:
    model = make_pipeline(StandardScaler(), il.FewShotClassifier(head=head)).fit(X[::6], Y[::6])
    few = model[-1]
    assert model.score(X, Y) > 0.8
    assert few.head_ in HEADS
    assert head in ("auto", few.head_)
    low, high = few.accuracy_interval_
    assert 0 <= low <= few.accuracy_ <= high <= 1
    assert few.temperature_ > 0
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    np.testing.assert_array_equal(few.classes_[model.predict_proba(X).argmax(1)], model.predict(X))


def test_it_works_in_a_grid_search_and_is_cloned_with_a_head_of_ones_own() -> None:
    search = GridSearchCV(il.FewShotClassifier(), {"head": ["ridge", il.learners.Ridge(penalty=0.01)]}, cv=3).fit(
        X[::3], Y[::3]
    )
    assert search.best_score_ > 0.8
    own = il.learners.Ridge(penalty=0.01)
    model = clone(il.FewShotClassifier(head=own)).fit(X[::6], Y[::6])
    assert model.head_ == "Ridge"
    assert own.log_penalty.dtype == torch.float32


@pytest.mark.parametrize(
    "y",
    [
        ["cat", "cat", "owl", "owl"],
        [True, True, False, False],
        np.array([2.0, 2.0, 7.0, 7.0]),
        pd.Series(["b", "b", "a", "a"], dtype="category"),
        pd.Series([3, 3, 1, 1], dtype="category"),
        pd.Series(["x", "x", "y", "y"], index=[9, 8, 7, 6]),
        torch.tensor([5, 5, 4, 4]),
    ],
    ids=["words", "booleans", "floats", "categories", "categories of numbers", "series", "tensor"],
)
def test_labels_of_any_kind_come_back_as_they_are(y: Any) -> None:
    x = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
    assert il.FewShotClassifier().fit(x, y).predict(x).tolist() == np.asarray(y).tolist()


def test_a_frame_of_pandas_keeps_its_names() -> None:
    frame = pd.DataFrame(X, columns=IRIS.feature_names)
    model = il.FewShotClassifier().fit(frame[::6], Y[::6])
    assert model.feature_names_in_.tolist() == IRIS.feature_names
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[IRIS.feature_names[::-1]])


def test_unequal_counts_and_single_examples() -> None:
    """A class of one does not count in leave-one-out; where all are such it is the prototypes, and nothing is known."""
    random = np.random.default_rng(0)
    x, y, _, _ = blobs(random, [4, 1, 6], apart=3.0)
    model = il.FewShotClassifier().fit(x, y)
    assert set(model.predict(x)) == {0, 1, 2}
    # Eleven of eleven, which is no proof of perfection.
    assert 0.9 < model.accuracy_ < 1
    lone = il.FewShotClassifier().fit(x[[0, 4, 5]], y[[0, 4, 5]])
    assert lone.head_ == "prototypes"
    assert np.isnan(lone.accuracy_)
    assert lone.accuracy_interval_ == (0.0, 1.0)
    assert 0 < lone.temperature_ < np.inf
    assert lone.predict(x[[0, 4, 5]]).tolist() == [0, 1, 2]


def test_the_chosen_head_tells_most_examples_right_and_the_first_of_equals_is_taken() -> None:
    x, y, _, _ = blobs(np.random.default_rng(4), [5, 5, 5], apart=0.8)
    part = il.Examples(torch.from_numpy(x), torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)])
    heads = candidates(15, 3, 8)
    assert list(heads) == list(HEADS)
    right = {n: int((leave_one_out(h, part).argmax(1).numpy() == y).sum()) for n, h in heads.items()}
    assert choose(heads, part).name == max(right, key=lambda name: right[name])
    assert len(set(right.values())) < len(right)
    best = heads[choose(heads, part).name]
    torch.testing.assert_close(held_out(heads)(part), leave_one_out(best, part))


@pytest.mark.parametrize(("counts", "apart"), [([5, 5], 0.0), ([4, 4, 4], 0.7)])
def test_the_estimated_accuracy_is_not_optimistic(counts: list[int], apart: float) -> None:
    """By simulation, within a point; with nothing to learn the best of seven heads looks better than chance."""
    random = np.random.default_rng(7)
    gaps = []
    for _ in range(60):
        x, y, queries, labels = blobs(random, counts, apart=apart)
        model = il.FewShotClassifier().fit(x, y)
        gaps.append(model.accuracy_ - model.score(queries, labels))
    assert np.mean(gaps) < 0.01


@pytest.mark.parametrize(("head", "count"), [("auto", 100), ("ridge", 300), ("gaussian", 200)])
def test_prediction_sets_cover_as_promised(head: str, count: int) -> None:
    """Over many tasks the share of covered queries lies within its binomial interval about what 16 ranks can give."""
    random = np.random.default_rng(1)
    covered, size = 0, 0
    for _ in range(count):
        x, y, _, _ = blobs(random, np.bincount(random.choice(3, 16), minlength=3), apart=0.7, queries=0)
        # The query comes as the examples came: any of 16.
        last = random.integers(len(x))
        rest = np.arange(len(x)) != last
        (found,) = il.FewShotClassifier(head=head).fit(x[rest], y[rest]).predict_set(x[last:][:1], coverage=0.75)
        covered, size = covered + int(y[last] in found), size + len(found)
    low, high = binom.ppf([0.001, 0.999], count, 0.75)
    assert low <= covered <= high
    assert size < 2.8 * count


def test_prediction_sets_cover_each_class_where_asked() -> None:
    """Of five examples of a class any may be the query, whatever the others are."""
    random = np.random.default_rng(2)
    covered, count = 0, 200
    for _ in range(count):
        x, y, _, _ = blobs(random, [5, 9], apart=0.5)
        (found,) = il.FewShotClassifier(head="ridge").fit(x[1:], y[1:]).predict_set(x[:1], coverage=0.8, by_class=True)
        covered += int(0 in found)
    low, high = binom.ppf([0.001, 0.999], count, 0.8)
    assert low <= covered <= high


def test_ranks_are_those_of_explicit_refits() -> None:
    head = il.learners.Ridge().double()
    x, y, queries, _ = blobs(np.random.default_rng(2), [3, 2, 4], queries=5)
    part = il.Examples(torch.from_numpy(x), torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)])
    found = conformal_ranks(lambda some: leave_one_out(head, some), part, torch.from_numpy(queries), numbers=2**21)
    assert found.among.tolist() == [10, 10, 10]
    for q, query in enumerate(queries):
        for label in range(3):
            more_x, more_y = np.vstack((x, query)), np.append(y, label)
            scores = []
            for i in range(10):
                rest = np.arange(10) != i
                rows = torch.eye(3, dtype=torch.float64)[torch.from_numpy(more_y[rest])]
                state = head.adapt(il.Examples(torch.from_numpy(more_x[rest]), rows))
                raw = head.predict(state, torch.from_numpy(more_x[i : i + 1]))[0, 0].tolist()
                own = raw.pop(more_y[i])
                scores.append(max(raw) - own)
            assert found.worse[q, label] == sum(score >= scores[-1] - 1e-12 for score in scores)


def test_what_so_few_examples_can_promise_is_said_and_never_exceeded() -> None:
    x, y, queries, _ = blobs(np.random.default_rng(3), [5, 4], apart=2.0)
    model = il.FewShotClassifier().fit(x, y)
    assert len(model.predict_set(queries, coverage=0.9)) == len(queries)
    with pytest.raises(il.InputError, match=r"9 examples can promise 0\.9 at most .* 10 examples"):
        model.predict_set(queries, coverage=0.905)
    with pytest.raises(il.InputError, match=r"4 examples can promise 0\.8 at most"):
        model.predict_set(queries, coverage=0.9, by_class=True)
    with pytest.raises(il.InputError, match="above 0 and below 1"):
        model.predict_set(queries, coverage=1.0)
    with pytest.raises(il.InputError, match="'full'"):
        model.predict_set(queries, method="split")


def test_what_is_like_no_class_is_rejected() -> None:
    random = np.random.default_rng(5)
    x, y, queries, _ = blobs(random, [10, 10], features=20, apart=3.0, queries=400)
    model = il.FewShotClassifier().fit(x, np.array(["cat", "dog"])[y])
    found = model.predict(queries, unknown="reject", error=0.1)
    assert set(found) == {"cat", "dog", None}
    assert np.mean(found == None) < 0.25  # noqa: E711
    strange = 3.0 * random.normal(size=(100, 20))
    assert np.mean(model.predict(strange, unknown="reject") == None) > 0.9  # noqa: E711
    assert None not in set(model.predict(strange))
    with pytest.raises(il.InputError, match=r"1 / \(n \+ 1\) = 0\.04762"):
        model.predict(queries, unknown="reject", error=0.04)
    with pytest.raises(il.InputError, match="'reject'"):
        model.predict(queries, unknown="drop")


def test_it_folds_and_forgets_as_if_all_had_come_at_once() -> None:
    """New examples, a class that is new, a class that is gone, single examples that are."""
    once = il.FewShotClassifier().fit(X[::5], Y[::5])
    fold = il.FewShotClassifier().partial_fit(X[:100:5], Y[:100:5], classes=[0, 1, 2])
    assert fold.classes_.tolist() == [0, 1]
    fold.partial_fit(X[100::5], Y[100::5])
    np.testing.assert_array_equal(fold.predict_proba(X), once.predict_proba(X))
    assert (fold.head_, fold.accuracy_, fold.temperature_) == (once.head_, once.accuracy_, once.temperature_)
    two = il.FewShotClassifier().fit(X[:100:5], Y[:100:5])
    np.testing.assert_array_equal(fold.forget(2).predict_proba(X), two.predict_proba(X))
    rest = il.FewShotClassifier().fit(X[10:100:5], Y[10:100:5])
    np.testing.assert_array_equal(fold.forget(index=[0, 1]).predict_proba(X), rest.predict_proba(X))


@pytest.mark.parametrize("head", ["auto", "logistic", il.learners.GaussianClasses(shrinkage=0.3)], ids=str)
@pytest.mark.parametrize("kind", ["words", "numbers", "booleans"])
def test_it_is_kept_whole(tmp_path: Path, head: Any, kind: str) -> None:
    names = {
        "words": np.array(["ash", "elm", "oak"]),
        "numbers": np.array([3, 5, 9]),
        "booleans": np.array([True, False, True]),
    }
    frame = pd.DataFrame(X, columns=IRIS.feature_names)
    model = il.FewShotClassifier(head=head).fit(frame[::6], names[kind][Y[::6]])
    again = il.load(model.save(tmp_path / "trees"))
    for copy in (again, pickle.loads(pickle.dumps(model))):
        np.testing.assert_allclose(copy.predict_proba(frame), model.predict_proba(frame), rtol=1e-9)
        np.testing.assert_array_equal(copy.predict(frame), model.predict(frame))
        assert copy.classes_.dtype == model.classes_.dtype
        for name in ("head_", "encoder_", "accuracy_", "accuracy_interval_", "temperature_", "n_features_in_"):
            assert getattr(copy, name) == getattr(model, name)
    more = frame[1::6], names[kind][Y[1::6]]
    found, expected = (one.partial_fit(*more).predict_proba(frame) for one in (again, model))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    with pytest.raises(il.InputError, match="trees"):
        model.save(tmp_path / "trees")


@pytest.mark.parametrize(
    ("options", "y", "said"),
    [
        ({}, [0, 0, 0, 0], "one class"),
        ({}, ["a", None, "b", "b"], "row 1"),
        ({}, ["a", 1, "b", "b"], "several kinds"),
        ({"head": "rigde"}, [0, 0, 1, 1], "did you mean ridge"),
        ({"head": 3}, [0, 0, 1, 1], "innerloop.learners.Head"),
        ({"encoder": "eyes"}, [0, 0, 1, 1], "'eyes'"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], y: Any, said: str) -> None:
    with pytest.raises(il.InputError, match=said):
        il.FewShotClassifier(**options).fit([[0.0, 1.0], [0.2, 1.0], [1.0, 0.0], [1.0, 0.2]], y)


def test_what_is_refused_changes_nothing() -> None:
    model = il.FewShotClassifier().fit(X[:100:10], Y[:100:10])
    before = model.predict_proba(X)
    for refused in (
        lambda: model.forget(1),
        lambda: model.forget(7),
        lambda: model.forget(index=99),
        lambda: model.forget(),
        lambda: model.partial_fit(X[:1], ["cat"]),
        lambda: model.partial_fit(X[:1], [True]),
        lambda: model.partial_fit(X[:1], [5], classes=[0, 1]),
        lambda: model.fit(X[:5], Y[:5]),
    ):
        with pytest.raises(il.InputError):
            refused()
        np.testing.assert_array_equal(model.predict_proba(X), before)
    with pytest.raises(NotFittedError):
        il.FewShotClassifier().forget(1)


def test_one_example_of_each_of_many_numbered_classes_is_no_regression() -> None:
    X = np.random.default_rng(0).normal(size=(40, 5))
    few = il.FewShotClassifier().fit(X, np.arange(40))
    assert few.predict(X).tolist() == list(range(40))
