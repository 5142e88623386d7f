"""The prior over tables: seeded, well formed, and worth learning from."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

import innerloop as il
from innerloop.data import TablePrior, prior


def draw(seed: int, tasks: int = 6, **options: object) -> il.Task:
    return TablePrior(**options).draw(Generator().manual_seed(seed), tasks)


def flat(task: il.Task) -> list[Tensor]:
    return [tensor for part in task for tensor in part]


@pytest.mark.parametrize("regression", [False, True])
def test_same_generator_same_tables(regression: bool) -> None:
    first, second, other = (flat(draw(seed, regression=regression)) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_global_random_state_is_not_used() -> None:
    before = torch.get_rng_state()
    draw(0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(40))
def test_tables_are_well_formed(seed: int) -> None:
    options = {"rows": (10, 80), "features": (2, 12), "classes": 6, "queries": 9}
    (xs, ys), (xq, yq) = draw(seed, 5, **options)
    assert xs.shape[0] == xq.shape[0] == ys.shape[0] == yq.shape[0] == 5
    assert 10 <= xs.shape[1] <= 80
    assert 2 <= xs.shape[2] <= 12
    assert 2 <= ys.shape[2] <= 6
    assert xq.shape[1] == 9
    il.core.task.check(il.Task(il.Examples(xs, ys), il.Examples(xq, yq)))
    for y in (ys, yq):
        assert torch.equal(y.sum(2), torch.ones(y.shape[:2]))
        assert set(y.unique().tolist()) <= {0.0, 1.0}
    # A query asks for no class that the training rows do not show.
    assert not (yq.sum(1)[ys.sum(1) == 0]).any()


@pytest.mark.parametrize("seed", range(20))
def test_regression_targets_are_standardized_by_the_training_rows(seed: int) -> None:
    task = draw(seed, regression=True, rows=(20, 60))
    assert task.support.y.shape[2] == 1
    torch.testing.assert_close(task.support.y.mean(1), torch.zeros(6, 1), atol=0.2, rtol=0)
    assert task.query.y.isfinite().all()
    assert float(task.query.y.abs().max()) <= 10


def test_sizes_cover_their_range() -> None:
    shapes = [draw(seed, 1, queries=1).support for seed in range(300)]
    rows = torch.tensor([float(s.x.shape[1]) for s in shapes])
    ways = torch.tensor([float(s.y.shape[2]) for s in shapes])
    # Log-uniform: each doubling from 10 to 160 has its share.
    for low in (10, 20, 40, 80):
        assert float(((rows >= low) & (rows < 2 * low)).float().mean()) > 0.1
    assert 0.4 < float((ways == 2).float().mean()) < 0.75
    assert float((ways > 4).float().mean()) > 0.08
    assert max(s.x.shape[1] * (s.x.shape[2] + 1) for s in shapes) <= 2000


def test_classes_are_all_there() -> None:
    empty = [(draw(seed, 8).support.y.sum(1) == 0).float().mean() for seed in range(60)]
    assert float(torch.stack(empty).mean()) < 0.08


@pytest.mark.parametrize("kind", prior.KINDS)
def test_each_kind_can_be_learnt(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest training rows know more about a query's class than its frequency does."""
    monkeypatch.setattr(prior, "KINDS", {name: float(name == kind) for name in prior.KINDS})
    gaps = []
    for seed in range(30):
        (xs, ys), (xq, yq) = draw(seed, 4, rows=(100, 100), features=(2, 5), classes=3)
        near = torch.cdist(xq, xs).topk(9, largest=False).indices
        votes = (
            ys.gather(1, near.flatten(1).unsqueeze(2).expand(-1, -1, ys.shape[2])).unflatten(1, near.shape[1:]).sum(2)
        )
        hits = yq.gather(2, votes.argmax(2, keepdim=True)).mean((1, 2))
        common = yq.gather(2, ys.sum(1, keepdim=True).argmax(2, keepdim=True).expand(-1, yq.shape[1], -1)).mean((1, 2))
        gaps.append(hits - common)
    assert float(torch.cat(gaps).mean()) > 0.08


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rows": (0, 5)}, "the smallest of rows is 0"),
        ({"features": (4, 3)}, r"features is \(4, 3\)"),
        ({"classes": 1}, "classes is 1"),
        ({"queries": 0}, "queries is 0"),
    ],
)
def test_bad_sizes_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        TablePrior(**options)
