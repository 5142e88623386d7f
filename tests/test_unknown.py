"""None of these: the promise on queries of known classes, the score, and how good few examples say a classifier is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import beta, binom

import innerloop as il
from innerloop.estimators.estimate import estimate, facts, shortest
from innerloop.estimators.unknown import strangeness
from innerloop.evidence import joined_misfits, leave_one_out, refit_misfits
from innerloop.learners.heads.spans import Spans


def drawn(random: np.random.Generator, classes: int, count: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Examples of classes at random, of which each has two at least."""
    while True:
        y = random.integers(0, classes, count)
        if np.bincount(y, minlength=classes).min() > 1:
            centers = random.normal(size=(classes, features))
            return centers[y] + 1.2 * random.normal(size=(count, features)), y


@pytest.mark.parametrize("features", [8, 96])
def test_known_classes_are_rejected_no_more_often_than_asked(features: int) -> None:
    """Any of 20 examples may be the query; by distances and by spans."""
    random = np.random.default_rng(4)
    rejected, count = 0, 300
    for _ in range(count):
        x, y = drawn(random, 3, 20, features)
        last, eye = random.integers(20), torch.eye(3, dtype=torch.float64)
        rest = np.arange(20) != last
        support = il.Examples(torch.from_numpy(x[rest]), eye[torch.from_numpy(y[rest])])
        found = strangeness(support, torch.from_numpy(x[[last]]))
        rejected += int(found.rejected(0.2))
    assert rejected <= binom.ppf(0.999, count, 0.2)
    assert rejected > 0.05 * count


@pytest.mark.parametrize("features", [8, 96])
def test_the_score_tells_what_is_of_no_class_and_agrees_with_rejection(features: int) -> None:
    random = np.random.default_rng(0)
    centers = 2 * random.normal(size=(4, features))
    y = np.arange(24) % 3
    x = centers[y] + random.normal(size=(24, features))
    model = il.FewShotClassifier(head="ridge").fit(x, y)
    known = centers[np.arange(60) % 3] + random.normal(size=(60, features))
    strange = centers[3] + random.normal(size=(60, features))
    score = model.unknown_score(np.vstack((known, strange)))
    assert ((score >= 0) & (score < 1)).all()
    assert (score[60:, None] > score[:60]).mean() > 0.95
    assert len(np.unique(score)) > 60
    for error in (0.05, 0.1, 0.3):
        gone = np.array([label is None for label in model.predict(np.vstack((known, strange)), "reject", error)])
        assert (score[gone] >= 1 - error).all()
        assert gone[60:].mean() > 0.5 > gone[:60].mean()


def test_misfits_with_a_weight_are_those_of_refits() -> None:
    random = np.random.default_rng(1)
    x, y = drawn(random, 3, 10, 70)
    support = il.Examples(torch.from_numpy(x), torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)])
    queries, head = torch.from_numpy(random.normal(size=(3, 70))), Spans().double()
    expected = refit_misfits(lambda some: leave_one_out(head, some), support, queries, 0.2)
    torch.testing.assert_close(joined_misfits(head.joined(support, queries), support.y, 0.2), expected)


def test_what_tells_nothing_of_the_unknown_is_said() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(6, 70))
    model = il.FewShotClassifier().fit(x, [0, 0, 0, 1, 1, 2])
    with pytest.raises(il.InputError, match=r"6 examples, 1 of them alone in their class.* 0\.2857"):
        model.predict(x, unknown="reject", error=0.2)
    assert model.predict(x, unknown="reject", error=0.3).tolist() == [0, 0, 0, 1, 1, 2]


def test_a_table_rejects_too() -> None:
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"size": np.r_[random.normal(0, 1, 10), random.normal(9, 1, 10)], "kind": list("ab") * 10})
    model = il.FewShotClassifier(head="ridge").fit(frame, [0] * 10 + [1] * 10)
    asked = pd.DataFrame({"size": [0.0, 9.0, 500.0], "kind": ["a", "b", "a"]})
    assert model.predict(asked, unknown="reject", error=0.1).tolist() == [0, 1, None]


def test_the_shortest_interval_holds_its_share_and_reaches_the_end_where_the_density_does() -> None:
    low, high = shortest(20.0, 5.0)
    assert beta.cdf(high, 20, 5) - beta.cdf(low, 20, 5) == pytest.approx(0.95)
    assert high - low <= np.subtract(*beta.ppf([0.975, 0.025], 20, 5))
    assert shortest(30.0, 0.5)[1] == 1.0


@pytest.mark.parametrize("features", [4, 384])
def test_more_right_answers_are_a_better_estimate_and_more_examples_a_narrower_one(features: int) -> None:
    def of(hits: int, count: int) -> tuple[float, tuple[float, float]]:
        right = np.arange(count)[None].repeat(2, 0) < hits
        margins = np.where(right[0], 1.0, -1.0)
        return estimate(right, margins, np.full(5, count // 5), features, careful=hits / count)

    means = [of(hits, 25)[0] for hits in range(0, 26, 5)]
    assert (np.diff(means) > 0).all()
    assert 0 < means[0] < 0.2 < 0.9 < means[-1] < 1
    widths = [np.ptp(of(count, count)[1]) for count in (10, 25, 50)]
    assert widths[0] > widths[1] > widths[2]


def test_the_facts_of_an_estimate_do_not_depend_on_the_scale_of_the_logits() -> None:
    random = np.random.default_rng(5)
    right, margins = random.random((3, 12)) < 0.8, random.normal(1, 1, 12)
    counts = np.array([4, 4, 4])
    np.testing.assert_allclose(facts(right, margins, counts, 9), facts(right, 50 * margins, counts, 9))
