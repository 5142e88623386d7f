"""Prototypes that unlabelled examples refine: against a plain loop over examples, and the laws of what has no label."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import innerloop as il
from innerloop.core.task import check_examples
from innerloop.evidence import leave_one_out

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
        ({"steps": -1}, "steps=-1"),
        ({"outside": math.inf}, "below infinity"),
        ({"outside": math.nan}, "outside=nan"),
    ],
)
def test_what_it_cannot_be_is_refused(options: dict, said: str) -> None:
    with pytest.raises(il.InputError, match=said):
        il.learners.SoftMeans(**options)
