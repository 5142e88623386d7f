"""Heads on features against scikit-learn and their formulas, leave-one-out against explicit refits, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression as SklearnLogistic
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn import functional as F

import innerloop as il
from innerloop.evidence import leave_one_out, others, refits
from innerloop.learners.head import Head

HEADS: dict[str, Callable[[], Head]] = {
    "prototypes": lambda: il.learners.Prototypes(),
    "cosine": lambda: il.learners.Prototypes(distance="cosine"),
    "center": lambda: centered(),
    "ridge": lambda: il.learners.Ridge(penalty=0.3),
    "ridge-raw": lambda: il.learners.Ridge(penalty=2.0, normalize=False),
    "learned": lambda: learned(),
    "logistic": lambda: il.learners.LogisticRegression(),
    "logistic-raw": lambda: il.learners.LogisticRegression(C=1.0, normalize=False),
    "gaussian": lambda: il.learners.GaussianClasses(),
    "gaussian-base": lambda: based(),
    "spans": lambda: il.learners.Spans(),
    "nearest": lambda: il.learners.NearestNeighbor(),
    "nearest-euclidean": lambda: il.learners.NearestNeighbor(distance="euclidean"),
    "blocks": lambda: blocks(il.learners.Ridge(penalty=0.3, normalize=False)),
    "blocks-logistic": lambda: blocks(il.learners.LogisticRegression(C=10.0, normalize=False)),
    "mixed-ridge": lambda: mixed(),
}
#: Examples of each class: unequal, and one of a single example.
UNEQUAL = [4, 1, 7]


def tasks(features: int = 6) -> il.Task:
    generator = torch.Generator().manual_seed(5)
    scales = torch.logspace(-1, 1, features)
    x = scales * torch.randn(4, 12, features, generator=generator) + 1
    y = torch.eye(3)[torch.arange(12) % 3].expand(4, 12, 3)
    return il.Task(il.Examples(x[:, :6], y[:, :6]), il.Examples(x[:, 6:], y[:, 6:]))


def centered() -> Head:
    head = il.learners.Prototypes(distance="cosine", center=True, features=6).eval()
    head.calibrate([tasks()])
    return head


def learned() -> Head:
    head = il.learners.LearnedKernel(features=6, near=3.0)
    with torch.no_grad():
        head.change.copy_(0.3 * torch.randn(6, 6, generator=torch.Generator().manual_seed(3)))
        head.center.fill_(0.1)
    return head


def based() -> Head:
    head = il.learners.GaussianClasses(base=3.0, shrinkage=0.2, features=6)
    head.calibrate([tasks()])
    return head


def blocks(head: Head) -> Head:
    return il.learners.Blocks(head, parts=[(0, 4, 0.7), (3, 6, 0.3)], power=0.5)


def mixed() -> Head:
    """Its limit parts the examples of these tests: some that are left out change the mix."""
    mixes = [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    return il.learners.MixedRidge(parts=[(0, 4), (2, 6)], mixes=mixes, limits=[-0.05, 0.0])


def support(counts: list[int], features: int = 6, seed: int = 0) -> tuple[Tensor, np.ndarray, il.Examples]:
    """Features ``[N, H]``, labels ``[N]``, and both as examples, in a mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centers = 1.5 * torch.randn(len(counts), features, generator=generator, dtype=torch.float64)
    x = centers[labels] + torch.randn(len(labels), features, generator=generator, dtype=torch.float64)
    return x, labels.numpy(), il.Examples(x, torch.eye(len(counts), dtype=torch.float64)[labels])


def queries(count: int = 20, features: int = 6) -> Tensor:
    return 2 * torch.randn(count, features, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def raw(head: Head, part: il.Examples, x: Tensor) -> Tensor:
    head = head.double().eval()
    with torch.no_grad():
        return head.predict(head.adapt(part), x)[0]


@pytest.mark.parametrize("counts", [UNEQUAL, [1, 1, 1], [3, 2]])
@pytest.mark.parametrize("features", [3, 40])
def test_ridge_is_scikit_learns(counts: list[int], features: int) -> None:
    x, _, part = support(counts, features)
    other = SklearnRidge(alpha=0.7).fit(x, part.y)
    found = raw(il.learners.Ridge(penalty=0.7, scale=1.0, normalize=False), part, queries(features=features))
    np.testing.assert_allclose(found, other.predict(queries(features=features)), atol=1e-6)


@pytest.mark.parametrize("counts", [UNEQUAL, [1, 1, 1], [5, 5, 5, 5]])
@pytest.mark.parametrize("c", [0.1, 1.0, 100.0])
def test_logistic_regression_is_scikit_learns(counts: list[int], c: float) -> None:
    x, labels, part = support(counts)
    other = SklearnLogistic(C=c, tol=1e-12, max_iter=100_000).fit(F.normalize(x, dim=1), labels)
    found = raw(il.learners.LogisticRegression(C=c), part, queries()).softmax(1)
    np.testing.assert_allclose(found, other.predict_proba(F.normalize(queries(), dim=1)), atol=1e-5)


@pytest.mark.parametrize("counts", [UNEQUAL, [1, 1, 1], [5, 5, 5, 5]])
@pytest.mark.parametrize("c", [0.1, 100.0, 1e4])
def test_logistic_regression_is_at_the_optimum(counts: list[int], c: float) -> None:
    """The gradient of its problem is 0 there, also for a C at which scikit-learn's solvers stop short."""
    x, labels, part = support(counts)
    state = il.learners.LogisticRegression(C=c).double().adapt(part)
    weight, bias = (one.clone().requires_grad_() for one in (state.weight, state.bias))
    logits = F.linear(F.normalize(x, dim=1), weight, bias)
    value = F.cross_entropy(logits, torch.from_numpy(labels), reduction="sum") + weight.square().sum() / (2 * c)
    for slope in torch.autograd.grad(value, (weight, bias)):
        assert slope.abs().max() < 1e-9


def test_logistic_regression_of_two_classes_is_scikit_learns() -> None:
    """There a single column of weights stands for two opposite ones, so that its penalty counts twice as much."""
    x, labels, part = support([3, 5])
    other = SklearnLogistic(C=20.0, tol=1e-12, max_iter=100_000).fit(F.normalize(x, dim=1), labels)
    found = raw(il.learners.LogisticRegression(C=10.0), part, queries()).softmax(1)
    np.testing.assert_allclose(found, other.predict_proba(F.normalize(queries(), dim=1)), atol=1e-5)


def test_the_gradient_of_logistic_regression_is_that_of_its_solution() -> None:
    """Against differences of solutions: the steps that found it are not differentiated."""
    head = il.learners.LogisticRegression(C=5.0).double()
    _, _, part = support([2, 2, 3])
    head.adapt(part)

    def outcome(x: Tensor) -> Tensor:
        return head.predict(head.adapt(il.Examples(x, part.y)), queries(3))

    assert torch.autograd.gradcheck(outcome, part.x.clone().requires_grad_(), atol=1e-5)


@pytest.mark.parametrize("features", [3, 6, 30])
@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 1.0])
def test_gaussian_classes_without_a_base_are_linear_discriminant_analysis(features: int, shrinkage: float) -> None:
    x, labels, part = support([6, 6, 6], features)
    other = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, labels)
    found = raw(il.learners.GaussianClasses(shrinkage=shrinkage), part, queries(features=features))
    np.testing.assert_allclose(found.softmax(1), other.predict_proba(queries(features=features)), atol=1e-6)


def test_gaussian_classes_are_their_formula_with_a_base() -> None:
    head = based().double()
    _, labels, part = support(UNEQUAL)
    seen = tasks()
    apart = []
    for t in range(4):
        x, y = torch.cat((seen.support.x[t], seen.query.x[t])).double(), torch.cat((seen.support.y[t], seen.query.y[t]))
        apart += [x[y[:, c] > 0] - x[y[:, c] > 0].mean(0) for c in range(3)]
    base = sum(part.mT @ part for part in apart) / (4 * (12 - 3))
    means = torch.stack([part.x[labels == c].mean(0) for c in range(3)])
    own = part.x - means[labels]
    covariance = (own.mT @ own + 3.0 * base) / (len(own) + 3.0)
    covariance = 0.8 * covariance + 0.2 * covariance.trace() / 6 * torch.eye(6)
    difference = queries().unsqueeze(1) - means
    expected = -0.5 * torch.einsum("qdh,hk,qdk->qd", difference, covariance.inverse(), difference)
    torch.testing.assert_close(raw(head, part, queries()), expected, rtol=1e-4, atol=1e-4)


def test_single_examples_of_gaussian_classes_are_prototypes() -> None:
    _, _, part = support([1, 1, 1])
    found = raw(il.learners.GaussianClasses(), part, queries())
    near = raw(il.learners.Prototypes(), part, queries())
    assert torch.equal(found.argmax(1), near.argmax(1))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("counts", [UNEQUAL, [1, 1], [1, 1, 1]])
def test_the_nearest_neighbor_is_scikit_learns(distance: str, counts: list[int]) -> None:
    x, labels, part = support(counts)
    other = KNeighborsClassifier(1, metric=distance).fit(x, labels)
    found = raw(il.learners.NearestNeighbor(distance=distance), part, queries())
    np.testing.assert_array_equal(found.argmax(1), other.predict(queries()))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("counts", [UNEQUAL, [1, 1, 1], [2, 3]])
def test_leave_one_out_is_what_refits_give(name: str, counts: list[int]) -> None:
    head = HEADS[name]().double().eval()
    _, _, part = support(counts)
    found = leave_one_out(head, part)
    some = torch.tensor([3, 0])[: len(part.x) - 1].clamp(max=len(part.x) - 1)
    torch.testing.assert_close(leave_one_out(head, part, some, chunk=1), found[some])
    for i, kept in enumerate(others(len(part.x))):
        expected = raw(head, il.Examples(part.x[kept], part.y[kept]), part.x[i : i + 1])[0]
        torch.testing.assert_close(found[i], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", HEADS)
def test_refits_are_the_states_of_their_subsets(name: str) -> None:
    """In chunks of any size, with an example twice, and with a class that a subset lacks."""
    head = HEADS[name]().double().eval()
    _, _, part = support(UNEQUAL)
    subsets = torch.tensor([[0, 1, 2, 3, 4], [7, 7, 8, 3, 2], [11, 10, 9, 8, 0]])
    for chunk in (None, 1, 2):
        states = refits(head, part, subsets, chunk)
        for i, kept in enumerate(subsets):
            one = torch.utils._pytree.tree_map(lambda leaf, i=i: leaf[i], states)
            expected = raw(head, il.Examples(part.x[kept], part.y[kept]), queries())
            with torch.no_grad():
                torch.testing.assert_close(head.predict(one, queries())[0], expected)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_folds(name: str) -> None:
    """New examples of known classes and of a class that had none."""
    head = HEADS[name]().double().eval()
    _, labels, part = support(UNEQUAL)
    old = torch.from_numpy(labels != 1)
    first, second = (il.Examples(part.x[rows], part.y[rows]) for rows in (old, ~old))
    together = il.Examples(torch.cat((first.x, second.x)), torch.cat((first.y, second.y)))
    with torch.no_grad():
        known = head.adapt(first)
        assert head.predict(known, queries())[0, :, 1].isneginf().all()
        found = head.predict(head.adapt(second, known), queries())[0]
    torch.testing.assert_close(found, raw(head, together, queries()))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: il.learners.Ridge(penalty=0.0), "penalty"),
        (lambda: il.learners.Ridge(scale=float("inf")), "scale"),
        (lambda: il.learners.LogisticRegression(C=-1.0), "C is"),
        (lambda: il.learners.LogisticRegression(steps=0), "steps"),
        (lambda: il.learners.GaussianClasses(shrinkage=0.0), "shrinkage"),
        (lambda: il.learners.GaussianClasses(base=-1.0), "base"),
        (lambda: il.learners.GaussianClasses(base=1.0), "size of a feature"),
        (lambda: il.learners.Spans(penalty=0.0), "penalty"),
        (lambda: il.learners.NearestNeighbor(distance="manhattan"), "manhattan"),
        (lambda: il.learners.NearestNeighbor(scale=0.0), "scale"),
        (
            lambda: il.learners.LogisticRegression().adapt(il.Examples(torch.rand(260, 2), torch.eye(260))),
            "260 classes",
        ),
        (lambda: refits(il.learners.Prototypes(), support([1, 1])[2], torch.tensor([[0, 2]])), "0 to 1"),
        (lambda: refits(il.learners.Prototypes(), support([1, 1])[2], torch.tensor([0, 1])), "int64"),
        (lambda: leave_one_out(il.learners.Prototypes(), support([1])[2]), "others"),
    ],
)
def test_what_a_head_cannot_be_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(il.InputError, match=said):
        make()
