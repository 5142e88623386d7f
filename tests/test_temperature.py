"""Temperatures of few examples: laws, and that they make fresh queries likelier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch import Tensor
from torch.nn.functional import cross_entropy

import innerloop as il
from innerloop.estimators.choice import HEADS, choose, ready
from innerloop.estimators.temperature import EXPECTED, left_out_loss, spread, temperature
from innerloop.evidence import leave_one_out
from innerloop.learners.head import Head
from innerloop.learners.heads.primed import Primed
from innerloop.learners.heads.scaled import Scaled


def task(random: np.random.Generator, counts: list[int], features: int = 6) -> tuple[il.Examples, Tensor, Tensor]:
    """Normal classes, and 20 queries of each."""
    centers = 1.5 * random.normal(size=(len(counts), features))
    y, t = np.repeat(np.arange(len(counts)), counts), np.repeat(np.arange(len(counts)), 20)
    x, q = (torch.from_numpy(centers[rows] + random.normal(size=(len(rows), features))) for rows in (y, t))
    return il.Examples(x, torch.eye(len(counts), dtype=torch.float64)[y]), q, torch.from_numpy(t)


@pytest.mark.parametrize("counts", [[1, 1, 1], [2, 3, 1], [5, 5, 5]], ids=["single", "unequal", "five"])
@pytest.mark.parametrize(
    "make",
    [
        lambda factor: il.learners.Ridge(scale=2.0 * factor),
        lambda factor: il.learners.Prototypes(scale=factor),
        lambda factor: il.learners.Prototypes(distance="cosine", scale=factor),
        lambda factor: il.learners.NearestNeighbor(scale=factor),
        lambda factor: Primed(il.learners.Ridge(scale=factor), torch.eye(3, 6), torch.eye(3)),
        lambda factor: Scaled(il.learners.Ridge(scale=factor)),
    ],
    ids=["ridge", "prototypes", "cosine", "nearest", "primed", "scaled"],
)
def test_a_head_of_logits_three_times_as_large_gets_three_times_the_temperature(
    make: Callable[[float], Head], counts: list[int]
) -> None:
    support, *_ = task(np.random.default_rng(3), counts)
    one, three = (choose({"head": ready(make(factor))}, support).temperature for factor in (1.0, 3.0))
    assert three == pytest.approx(3 * one, rel=1e-3)


@pytest.mark.parametrize("name", [*HEADS])
def test_single_examples_get_what_the_head_needed_elsewhere(name: str) -> None:
    support, *_ = task(np.random.default_rng(1), [1, 1, 1, 1])
    head = ready(HEADS[name]())
    constant, classes, scarcity, short = EXPECTED[name]
    unit = spread(head, head.adapt(support), support)
    assert temperature(head, support) == pytest.approx(unit * np.exp(constant + classes * np.log(4) + scarcity + short))


def test_of_an_unknown_head_nothing_is_expected() -> None:
    support, *_ = task(np.random.default_rng(1), [1, 1, 1])
    assert temperature(ready(il.learners.Spans()), support) == 1.0


def test_where_all_examples_are_the_same_it_is_one() -> None:
    support = il.Examples(torch.ones(4, 3, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[[0, 1, 0, 1]])
    head = ready(il.learners.Ridge())
    assert temperature(head, support, leave_one_out(head, support), support.y) == 1.0


def test_many_examples_outweigh_what_is_expected() -> None:
    support, *_ = task(np.random.default_rng(5), [500, 500])
    head = ready(il.learners.Ridge(scale=50.0))
    raw = leave_one_out(head, support)
    tried = np.exp(np.linspace(-4, 6, 2001))
    best = tried[np.argmin([float(left_out_loss(raw / t, support.y)) for t in tried])]
    assert temperature(head, support, raw, support.y) == pytest.approx(best, rel=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda: il.learners.Ridge(scale=300.0),
        lambda: il.learners.Prototypes(distance="cosine", scale=300.0),
        lambda: il.learners.NearestNeighbor(scale=300.0),
    ],
    ids=["ridge", "prototypes", "nearest"],
)
@pytest.mark.parametrize("shots", [1, 2, 5])
def test_it_comes_near_the_best_that_hindsight_knows(make: Callable[[], Head], shots: int) -> None:
    """Wine, on which what is expected was not fitted, by heads that are far too sure: the log loss of fresh rows beside
    that of the best temperature for all tasks.
    """
    rows, labels = load_wine(return_X_y=True)
    rows, random, tried = scale(rows), np.random.default_rng(shots), np.exp(np.linspace(-2, 8, 81))
    mine, all_tried = [], []
    for _ in range(30):
        order = random.permutation(len(rows))
        chosen = np.concatenate([order[labels[order] == c][:shots] for c in range(3)])
        rest = np.setdiff1d(order, chosen)
        support = il.Examples(torch.from_numpy(rows[chosen]), torch.eye(3, dtype=torch.float64)[labels[chosen]])
        head = ready(make())
        divisor = choose({"head": head}, support).temperature
        raw, truth = head.predict(head.adapt(support), torch.from_numpy(rows[rest]))[0], torch.from_numpy(labels[rest])
        mine.append(float(cross_entropy(raw / divisor, truth)))
        all_tried.append([float(cross_entropy(raw / t, truth)) for t in tried])
    assert np.mean(mine) < 0.6
    assert np.mean(mine) < np.mean(all_tried, axis=0).min() + 0.18
