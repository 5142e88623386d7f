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


def likeness(part: il.Examples, stop: int) -> float:
    z = F.normalize(part.x[:, :stop], dim=1)
    labels = part.y.argmax(1)
    pairs = [float(z[i] @ z[j]) for i in range(len(z)) for j in range(len(z)) if labels[i] != labels[j]]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("alike", [0.0, 0.4, 0.8, 3.0])
def test_the_head_is_that_of_how_alike_the_classes_are(alike: float) -> None:
    heads = [il.learners.Ridge(), il.learners.NearestNeighbor(), il.learners.Prototypes()]
    part = examples(alike=alike)
    found = answers(il.learners.ByLikeness(heads, limits=[0.1, 0.4], stop=8), part, queries())
    place = sum(likeness(part, 8) >= limit for limit in (0.1, 0.4))
    torch.testing.assert_close(found, answers(heads[place], part, queries()))


def test_an_example_that_is_left_out_may_change_the_head() -> None:
    """The limit lies in the middle of what the likeness is without one example."""
    heads = [il.learners.Ridge(), il.learners.NearestNeighbor()]
    part = examples(alike=0.4)
    rest = [il.Examples(part.x[kept], part.y[kept]) for kept in others(len(part.x))]
    middle = float(torch.tensor([likeness(one, 12) for one in rest]).median()) + 1e-9
    head = il.learners.ByLikeness(heads, limits=[middle]).double().eval()
    found = leave_one_out(head, part)
    taken = []
    for row, one in enumerate(rest):
        taken.append(likeness(one, 12) >= middle)
        torch.testing.assert_close(found[row], answers(heads[taken[-1]], one, part.x[row : row + 1])[0])
    assert 0 < sum(taken) < len(taken)


def test_heads_without_a_closed_form_are_refitted() -> None:
    head = il.learners.ByLikeness([il.learners.GaussianClasses(), il.learners.Ridge()], limits=[0.2]).double().eval()
    part = examples()
    found = leave_one_out(head, part)
    for row, kept in enumerate(others(len(part.x))):
        expected = answers(head, il.Examples(part.x[kept], part.y[kept]), part.x[row : row + 1])[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-6, atol=1e-6)


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
        (lambda: il.learners.ByLikeness([il.learners.Ridge()], limits=[0.5]), "one head more"),
        (lambda: il.learners.ByLikeness([il.learners.Ridge()] * 3, limits=[0.5, 0.1]), "ascend"),
        (lambda: il.learners.ByLikeness([il.learners.Ridge()], limits=[], start=4, stop=2), "from 4 to 2"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(il.InputError, match=said):
        make()
