"""Heads on parts of a feature vector: against sums of kernels, and against choosing by hand, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import innerloop as il
from innerloop.evidence import leave_one_out, others

PARTS = [(0, 5, 0.6), (5, 8, 0.3), (2, 12, 0.1)]


def examples(counts: tuple[int, ...] = (4, 1, 7), features: int = 12, alike: float = 0.0) -> il.Examples:
    """Of classes that look alike where a vector that all share is large."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    centers = torch.randn(len(counts), features, generator=generator, dtype=torch.float64)
    x = centers[labels] + torch.randn(len(labels), features, generator=generator, dtype=torch.float64) + alike
    order = torch.randperm(len(labels), generator=generator)
    return il.Examples(x[order], torch.eye(len(counts), dtype=torch.float64)[labels[order]])


def queries(features: int = 12) -> Tensor:
    return torch.randn(9, features, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def answers(head: il.learners.Head, part: il.Examples, x: Tensor) -> Tensor:
    head = head.double().eval()
    with torch.no_grad():
        return head.predict(head.adapt(part), x)[0]


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_a_mix_of_parts_is_ridge_on_the_sum_of_their_kernels(power: float) -> None:
    head = il.learners.Blocks(il.learners.Ridge(penalty=0.2, scale=1.0, normalize=False), parts=PARTS, power=power)
    part, asked = examples(), queries()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros(len(a), len(b), dtype=torch.float64)
        for start, stop, share in PARTS:
            left, right = (x[:, start:stop].sign() * x[:, start:stop].abs() ** power for x in (a, b))
            total += share * torch.cosine_similarity(left.unsqueeze(1), right.unsqueeze(0), dim=2)
        return total

    # The stationary point of its problem, in the space of the examples, with a bias that is free.
    count = len(part.x)
    system = torch.zeros(count + 1, count + 1, dtype=torch.float64)
    system[:count, :count] = kernel(part.x, part.x) + 0.2 * torch.eye(count)
    system[:count, count] = system[count, :count] = 1
    found = torch.linalg.solve(system, torch.cat((part.y, torch.zeros(1, 3, dtype=torch.float64))))
    torch.testing.assert_close(
        answers(head, part, asked), kernel(asked, part.x) @ found[:count] + found[count], rtol=1e-6, atol=1e-6
    )


def test_one_part_that_is_all_of_a_vector_changes_nothing() -> None:
    plain, whole = il.learners.Ridge(), il.learners.Blocks(il.learners.Ridge(), parts=[(0, 12, 1.0)])
    torch.testing.assert_close(answers(whole, examples(), queries()), answers(plain, examples(), queries()))


MIXES = [(1.0, 0.0), (0.4, 0.6), (0.0, 1.0)]
PENALTIES = (0.05, 0.5)


def mixed(limits: tuple[float, float] = (0.1, 0.4)) -> il.learners.MixedRidge:
    return il.learners.MixedRidge(parts=[(0, 8), (6, 12)], mixes=MIXES, limits=limits, penalties=PENALTIES)


def candidates() -> list[il.learners.Head]:
    """Each mix and penalty as a head of its own, in the order that decides."""
    ridges = []
    for mix in MIXES:
        parts = [(*part, share) for part, share in zip([(0, 8), (6, 12)], mix, strict=True) if share]
        ridges += [
            il.learners.Blocks(il.learners.Ridge(penalty=penalty, normalize=False), parts=parts)
            for penalty in PENALTIES
        ]
    return ridges


def likeness(part: il.Examples) -> float:
    z = F.normalize(part.x[:, :8], dim=1)
    labels = part.y.argmax(1)
    pairs = [float(z[i] @ z[j]) for i in range(len(z)) for j in range(len(z)) if labels[i] != labels[j]]
    return sum(pairs) / len(pairs)


def by_hand(part: il.Examples) -> il.learners.Head:
    """The candidate of the least error on examples left out, one refit after another."""
    labels = part.y.argmax(1)
    known = [row for row in range(len(labels)) if int((labels == labels[row]).sum()) > 1]
    errors = []
    for head in candidates():
        error = 0.0
        for row in known:
            rest = [other for other in range(len(labels)) if other != row]
            raw = answers(head, il.Examples(part.x[rest], part.y[rest]), part.x[row : row + 1])[0] / 10
            error += float((raw - part.y[row]).square().sum())
        errors.append(error)
    return candidates()[errors.index(min(errors))]


@pytest.mark.parametrize("counts", [(4, 1, 7), (2, 2), (3, 3, 3)])
def test_the_mix_is_that_of_the_least_error_left_out(counts: tuple[int, ...]) -> None:
    part = examples(counts, alike=0.5)
    torch.testing.assert_close(answers(mixed(), part, queries()), answers(by_hand(part), part, queries()))


def test_an_example_that_is_left_out_may_change_the_mix() -> None:
    part = examples((3, 2, 4), alike=0.5)
    found = leave_one_out(mixed().double().eval(), part)
    taken = set()
    for row, kept in enumerate(others(len(part.x))):
        rest = il.Examples(part.x[kept], part.y[kept])
        head = by_hand(rest)
        taken.add(repr(head))
        torch.testing.assert_close(found[row], answers(head, rest, part.x[row : row + 1])[0], rtol=1e-6, atol=1e-6)
    assert len(taken) > 1


@pytest.mark.parametrize("alike", [0.0, 0.4, 0.8, 3.0])
def test_single_examples_tell_the_mix_by_how_alike_they_are(alike: float) -> None:
    part = examples((1, 1, 1, 1), alike=alike)
    place = sum(likeness(part) >= limit for limit in (0.1, 0.4))
    head = candidates()[place * len(PENALTIES) + 1]
    torch.testing.assert_close(answers(mixed(), part, queries()), answers(head, part, queries()))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: il.learners.Blocks(il.learners.Ridge(), parts=[]), "no parts"),
        (lambda: il.learners.Blocks(il.learners.Ridge(), parts=[(3, 3, 1.0)]), "from 3 to 3"),
        (lambda: il.learners.Blocks(il.learners.Ridge(), parts=[(0, 3, 0.0)]), "share"),
        (lambda: il.learners.Blocks(il.learners.Ridge(), parts=[(0, 3, 1.0)], power=-1.0), "power"),
        (
            lambda: il.learners.Blocks(il.learners.Ridge(), parts=[(0, 13, 1.0)]).double().adapt(examples()),
            "12 numbers",
        ),
        (lambda: mixed().double().adapt(examples(features=10)), "10 numbers"),
        (lambda: il.learners.MixedRidge(parts=[(2, 2)], mixes=[(1.0,)], limits=[]), "from 2 to 2"),
        (lambda: il.learners.MixedRidge(parts=[(0, 2)], mixes=[(1.0, 1.0)], limits=[]), "share"),
        (lambda: il.learners.MixedRidge(parts=[(0, 2)], mixes=[(0.0,)], limits=[]), "share"),
        (lambda: il.learners.MixedRidge(parts=[(0, 2)], mixes=[(1.0,)], limits=[0.5]), "one mix more"),
        (lambda: mixed(limits=(0.4, 0.1)), "ascend"),
        (lambda: il.learners.MixedRidge(parts=[(0, 2)], mixes=[(1.0,)], limits=[], penalties=[0.0]), "penalties"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(il.InputError, match=said):
        make()
