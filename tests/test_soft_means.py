"""Prototypes that unlabelled examples refine: against a plain loop over examples, and the laws of what has no label."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris

import innerloop as il
from innerloop.core.task import check_examples
from innerloop.evidence import leave_one_out
from innerloop.export import write

FAR = {"distance": "euclidean", "scale": 0.3, "outside": -6.0}


def examples(labelled: int = 7, free: int = 9, seed: int = 0) -> il.Examples:
    """Of three classes in a mixed order; the second has one labelled example."""
    random = np.random.default_rng(seed)
    codes = np.concatenate(([0, 1, 2], random.choice([0, 2], labelled - 3), random.integers(0, 3, free)))
    x = 2 * np.eye(3, 6)[codes] + random.normal(size=(len(codes), 6)) + 1
    y = np.eye(3)[codes]
    y[labelled:] = 0
    order = random.permutation(len(codes))
    return il.Examples(torch.from_numpy(x[order]), torch.from_numpy(y[order]))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def by_hand(head: il.learners.SoftMeans, part: il.Examples, queries: torch.Tensor) -> np.ndarray:
    """The paper's update, one example and one class at a time."""
    x, y, asked = part.x.numpy(), part.y.numpy(), queries.numpy()
    classes, free = y.shape[1], [i for i in range(len(y)) if not y[i].any()]
    if head.distance == "cosine":
        center = sum((unit(x[i]) for i in free), np.zeros(x.shape[1])) / (len(free) + classes)
        x, asked = (np.stack([unit(unit(one) - center) for one in some]) for some in (x, asked))

    def logit(one: np.ndarray, mean: np.ndarray) -> float:
        if head.distance == "cosine":
            return head.scale * float(one @ unit(mean))
        return -head.scale * float(((one - mean) ** 2).sum())

    means = [x[y[:, c] == 1].mean(0) if y[:, c].any() else None for c in range(classes)]
    for _ in range(head.steps):
        total = [x[y[:, c] == 1].sum(0) for c in range(classes)]
        count = [y[:, c].sum() for c in range(classes)]
        for i in free:
            weights = [0.0 if mean is None else math.exp(logit(x[i], mean)) for mean in means]
            rest = math.exp(head.scale * head.outside)
            for c in range(classes):
                share = weights[c] / (sum(weights) + rest)
                total[c], count[c] = total[c] + share * x[i], count[c] + share
        means = [None if mean is None else total[c] / count[c] for c, mean in enumerate(means)]
    return np.array([[-math.inf if mean is None else logit(one, mean) for mean in means] for one in asked])


def raw(head: il.learners.SoftMeans, part: il.Examples, queries: torch.Tensor) -> torch.Tensor:
    return head.predict(head.adapt(part), queries)[0]


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"outside": -math.inf, "scale": 4.0}, {"outside": 0.6}, {"distance": "euclidean"}, FAR]
)
def test_it_is_the_update_by_hand(options: dict, steps: int) -> None:
    head, part, queries = il.learners.SoftMeans(steps=steps, **options), examples(), examples(seed=1).x
    np.testing.assert_allclose(raw(head, part, queries), by_hand(head, part, queries), rtol=1e-9, atol=1e-9)
    without = il.Examples(part.x, part.y * torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    np.testing.assert_allclose(raw(head, without, queries), by_hand(head, without, queries), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_where_all_have_a_label_it_is_prototypes(distance: str) -> None:
    part, queries = examples(free=0), examples(seed=1).x
    plain = il.learners.Prototypes(distance=distance)  # type: ignore[arg-type]
    found = raw(il.learners.SoftMeans(distance=distance, steps=2), part, queries)  # type: ignore[arg-type]
    torch.testing.assert_close(found, plain.predict(plain.adapt(part), queries)[0])


@pytest.mark.parametrize("options", [{}, FAR])
def test_it_folds_exactly_whatever_comes_first(options: dict) -> None:
    head, part, queries = il.learners.SoftMeans(**options), examples(), examples(seed=1).x
    free = part.y.sum(1) == 0
    state = None
    for some in (free, ~free):
        state = head.adapt(il.Examples(part.x[some], part.y[some]), state)
    assert state is not None
    torch.testing.assert_close(head.predict(state, queries)[0], raw(head, part, queries))


def test_left_out_is_a_refit_with_all_that_has_no_label() -> None:
    head, part = il.learners.SoftMeans(), examples()
    found = leave_one_out(head, part)
    for row in range(len(part.x)):
        rest = torch.arange(len(part.x)) != row
        expected = by_hand(head, il.Examples(part.x[rest], part.y[rest]), part.x[row : row + 1])[0]
        np.testing.assert_allclose(found[row], expected, rtol=1e-9, atol=1e-9)


def test_many_tasks_at_once_are_each_by_itself_and_gradients_pass() -> None:
    head, queries = il.learners.SoftMeans(), examples(seed=1).x
    parts = [examples(seed=seed) for seed in range(3)]
    many = il.Examples(torch.stack([part.x for part in parts]), torch.stack([part.y for part in parts]))
    found = torch.func.vmap(lambda x, y: raw(head, il.Examples(x, y), queries))(*many)
    torch.testing.assert_close(found, torch.stack([raw(head, part, queries) for part in parts]))
    some = queries[:2]
    assert torch.autograd.gradcheck(
        lambda x: raw(head, il.Examples(x, parts[0].y), some), parts[0].x.clone().requires_grad_()
    )


def test_nothing_labelled_is_no_answer_and_no_nan() -> None:
    part = examples()
    nothing = il.Examples(part.x, torch.zeros_like(part.y))
    check_examples(nothing, classes=True)
    for options in ({}, {"distance": "euclidean"}):
        assert (raw(il.learners.SoftMeans(**options), nothing, part.x) == -math.inf).all()


def test_examples_without_a_label_help_where_classes_lie_apart() -> None:
    """One labelled example of each of three round classes, 30 without a label."""
    right = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        codes = np.concatenate((np.arange(3), np.repeat(np.arange(3), 40)))
        x = torch.from_numpy(3 * np.eye(3, 12)[codes] + random.normal(size=(len(codes), 12)))
        y = torch.eye(3, dtype=torch.float64)[torch.from_numpy(codes)]
        y[3:] = 0
        known = np.concatenate((np.arange(3), random.permutation(np.arange(3, len(codes)))[:30]))
        asked = np.setdiff1d(np.arange(len(codes)), known)
        part = il.Examples(x[known], y[known])
        few = il.Examples(part.x[:3], part.y[:3])
        head = il.learners.SoftMeans()
        right.append(
            [float((raw(head, one, x[asked]).argmax(1).numpy() == codes[asked]).mean()) for one in (few, part)]
        )
    alone, more = np.mean(right, 0)
    assert more > alone + 0.05


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"distance": "manhattan"}, "manhattan"),
        ({"scale": 0.0}, "scale"),
        ({"steps": -1}, "is -1"),
        ({"outside": math.inf}, "is inf; it must be finite"),
        ({"outside": math.nan}, "is nan; it must be finite"),
    ],
)
def test_what_it_cannot_be_is_refused(options: dict, said: str) -> None:
    with pytest.raises(il.InputError, match=said):
        il.learners.SoftMeans(**options)


IRIS, KINDS = load_iris(return_X_y=True)
ROWS = np.arange(0, 150, 5)
FLOWERS = np.array(["setosa", "versicolor", "virginica"])[KINDS[ROWS]]
#: Two labelled rows of each kind.
FEW = np.isin(np.arange(30), [0, 4, 11, 15, 22, 28])


def fitted(y: Any) -> il.FewShotClassifier:
    return il.FewShotClassifier("features", "soft-means").fit(IRIS[ROWS], y)


def some(none: object = None) -> list[Any]:
    return [label if there else none for label, there in zip(FLOWERS.tolist(), FEW, strict=True)]


def test_the_estimator_uses_examples_without_a_label() -> None:
    few = fitted(some())
    assert few.unlabeled_ == 24
    assert few.head_ == "soft-means"
    assert few.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert few.y_.tolist() == FLOWERS[FEW].tolist()
    assert few.names_.tolist() == [str(row) for row in np.flatnonzero(FEW)]
    rows = torch.from_numpy(np.where(FEW[:, None], np.eye(3)[KINDS[ROWS]], 0))
    head = il.learners.SoftMeans().double()
    expected = raw(head, il.Examples(torch.from_numpy(IRIS[ROWS]), rows), torch.from_numpy(IRIS))
    np.testing.assert_allclose(few.predict_proba(IRIS), (expected / few.temperature_).softmax(1))
    alone = il.FewShotClassifier("features", "soft-means").fit(IRIS[ROWS][FEW], FLOWERS[FEW])
    assert alone.unlabeled_ == 0
    assert np.abs(few.predict_proba(IRIS) - alone.predict_proba(IRIS)).max() > 0.01


def test_leave_one_out_leaves_out_labelled_rows_alone() -> None:
    """More than 60 labelled rows: there the accuracy is the share that refits tell right."""
    few_labels = [label if row % 2 else None for row, label in enumerate(KINDS.tolist())]
    few = il.FewShotClassifier("features", "soft-means").fit(IRIS, few_labels)
    right = 0
    for row in range(1, 150, 2):
        rest = np.arange(150) != row
        labels = [label for label, there in zip(few_labels, rest, strict=True) if there]
        support = il.FewShotClassifier("features", "soft-means").fit(IRIS[rest], labels)
        right += support.predict(IRIS[row : row + 1])[0] == KINDS[row]
    assert few.accuracy_ == pytest.approx(right / 75)
    # Single examples: nothing can be left out, whatever has no label.
    single = [label if row in (0, 11, 22) else None for row, label in enumerate(FLOWERS.tolist())]
    assert np.isnan(fitted(single).accuracy_)


@pytest.mark.parametrize(
    "y",
    [
        np.array(some(), dtype=object),
        pd.Series(some()),
        pd.Series(some(), dtype="string"),
        pd.Series(some(), dtype="category"),
        some(float("nan")),
    ],
)
def test_what_stands_for_no_label(y: Any) -> None:
    few = fitted(y)
    assert few.unlabeled_ == 24
    np.testing.assert_array_equal(few.predict_proba(IRIS), fitted(some()).predict_proba(IRIS))


def test_numbers_with_gaps() -> None:
    few = fitted(np.where(FEW, KINDS[ROWS], np.nan))
    assert few.unlabeled_ == 24
    assert few.classes_.tolist() == [0, 1, 2]


def test_all_that_is_told_by_refits_works_with_them(tmp_path: Path) -> None:
    few = fitted(some())
    sets = few.predict_set(IRIS[::40], coverage=0.8)
    assert all(set(found) <= set(few.classes_) for found in sets)
    assert few.predict(IRIS[:2], unknown="reject", error=0.2).shape == (2,)
    (reason,) = few.explain(IRIS[:1])
    assert len(reason.evidence) == 6
    again = il.load(few.save(tmp_path / "flowers"))
    assert isinstance(again, il.FewShotClassifier)
    for other in (again, pickle.loads(pickle.dumps(few)), copy.deepcopy(few)):
        assert other.unlabeled_ == 24
        np.testing.assert_array_equal(other.predict_proba(IRIS), few.predict_proba(IRIS))
    # What is folded in later is as if all had come at once.
    first = il.FewShotClassifier("features", "soft-means").fit(IRIS[ROWS][FEW], FLOWERS[FEW])
    first.partial_fit(IRIS[ROWS][~FEW], [None] * 24)
    assert first.unlabeled_ == 24
    np.testing.assert_allclose(first.predict_proba(IRIS), few.predict_proba(IRIS))
    again.forget("virginica")
    assert (again.unlabeled_, again.classes_.tolist()) == (24, ["setosa", "versicolor"])
    assert set(again.predict(IRIS)) == {"setosa", "versicolor"}


def test_the_rows_of_a_table_too() -> None:
    units = [1, 1000, 1, 1]
    few = il.FewShotClassifier(head="soft-means").fit(pd.DataFrame(IRIS[ROWS] * units, columns=list("abcd")), some())
    assert (few.encoder_, few.unlabeled_) == ("table", 24)
    assert few.score(pd.DataFrame(IRIS * units, columns=list("abcd")), few.classes_[KINDS]) > 0.75


@pytest.mark.parametrize("head", ["auto", "ridge", "prototypes"])
def test_other_heads_say_how_many_have_no_label(head: str) -> None:
    for y in (some(), pd.Series(some()), np.where(FEW, KINDS[ROWS], np.nan)):
        with pytest.raises(il.InputError, match=r"row 1 is missing \(24 of 30 .*head='soft-means'.*leave these"):
            il.FewShotClassifier("features", head).fit(IRIS[ROWS], y)


def test_nothing_but_unlabelled_examples_is_refused() -> None:
    with pytest.raises(il.InputError, match="no example has a label"):
        fitted([None] * 30)


@pytest.mark.parametrize("form", ["classify", "adapt"])
def test_it_is_exported(form: str, tmp_path: Path) -> None:
    """The graph agrees with ours to rounding; ``adapt`` learns another task, from labels alone."""
    written = write(fitted(some()), tmp_path / "flowers.pt2", form=form)  # type: ignore[arg-type]
    assert written.drift.largest < 1e-6


def test_skops_stores_it() -> None:
    stored = pytest.importorskip("skops.io")
    few = fitted(some())
    content = stored.dumps(few)
    again = stored.loads(content, trusted=stored.get_untrusted_types(data=content))
    assert again.unlabeled_ == 24
    np.testing.assert_array_equal(again.predict_proba(IRIS), few.predict_proba(IRIS))
