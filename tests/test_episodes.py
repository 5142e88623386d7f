"""Samplers and pools: properties over many shapes, by hypothesis."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

import innerloop as il
from innerloop.data import Augment, Batches, FewShot, Pool, Pools, Sinusoid


def seeded(seed: int) -> Generator:
    """A generator of that seed."""
    return Generator().manual_seed(seed)


def marked_pool(sizes: list[int]) -> Pool:
    """Examples that say who they are: x = (class, number within the class)."""
    x = [[float(c), float(i)] for c, size in enumerate(sizes) for i in range(size)]
    return Pool(torch.tensor(x), torch.tensor(sizes), tuple(f"c{c}" for c in range(len(sizes))))


def image_pool() -> Pool:
    """Small random images of five classes."""
    images = torch.randint(0, 256, (30, 1, 6, 6), generator=seeded(0), dtype=torch.uint8)
    return Pool.of(images, [i % 5 for i in range(30)])


@st.composite
def few_shot(draw: st.DrawFn) -> FewShot:
    """Any sampler over a pool of unequal classes."""
    ways, shots, queries = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(0, 4))
    sizes = draw(st.lists(st.integers(shots + queries, shots + queries + 6), min_size=ways, max_size=9))
    return FewShot(marked_pool(sizes), ways=ways, shots=shots, queries=queries)


def seeds() -> st.SearchStrategy[int]:
    """Seeds of a generator."""
    return st.integers(0, 2**32)


@given(few_shot(), seeds())
def test_episodes_are_without_replacement(sampler: FewShot, seed: int) -> None:
    """Classes differ, examples differ, support and query are disjoint, and each class has its counts."""
    episodes = sampler.episodes(seeded(seed), 4)
    labels = torch.repeat_interleave(torch.arange(sampler.pool.classes), sampler.pool.sizes)
    for classes, support, query in zip(*episodes, strict=True):
        assert len(set(classes.tolist())) == sampler.ways
        both = torch.cat((support, query))
        assert len(both) == sampler.ways * (sampler.shots + sampler.queries)
        assert len(set(both.tolist())) == len(both)
        # Example i is of way i % ways, in support and query alike.
        assert torch.equal(labels[support], classes.repeat(sampler.shots))
        assert torch.equal(labels[query], classes.repeat(sampler.queries))


@given(few_shot(), seeds())
def test_targets_match_classes(sampler: FewShot, seed: int) -> None:
    """Rows are one-hot; two examples of a task share a row exactly if they share a class."""
    task = sampler.draw(seeded(seed), 3)
    episodes = sampler.episodes(seeded(seed), 3)
    for part, count in ((task.support, sampler.shots), (task.query, sampler.queries)):
        assert part.x.shape == (3, sampler.ways * count, 2)
        assert part.y.shape == (3, sampler.ways * count, sampler.ways)
        assert part.y.dtype == torch.float32
        assert torch.equal(part.y.sum(2), torch.ones(3, sampler.ways * count))
        way = part.y.argmax(2)
        assert torch.equal(part.x[..., 0].long(), episodes.classes.gather(1, way))
        assert torch.equal(part.y.sum(1), torch.full((3, sampler.ways), float(count)))


@given(few_shot(), seeds())
def test_a_seed_gives_one_draw(sampler: FewShot, seed: int) -> None:
    """The same seed gives the same tasks, as indices and as examples."""
    first, second = sampler.draw(seeded(seed), 3), sampler.draw(seeded(seed), 3)
    gathered = sampler.gather(sampler.episodes(seeded(seed), 3))
    for a, b, c in zip(leaves(first), leaves(second), leaves(gathered), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


@given(few_shot(), seeds())
def test_draws_do_not_depend_on_chunks(sampler: FewShot, seed: int) -> None:
    """draw(g, 8) = draw(g, 3) then draw(g, 5)."""
    assert_chunks_join(sampler, seed)


@pytest.mark.parametrize(
    "sampler",
    [
        FewShot(image_pool(), ways=3, shots=2, queries=2, augment=Augment(shift=1, rotate=20, flip=True)),
        FewShot(image_pool(), ways=3, shots=2, queries=2, support_augment=Augment(scale=0.2)),
        FewShot(image_pool(), ways=3, shots=2, queries=0, query_augment=Augment(flip=True)),
        Batches(image_pool(), size=7),
        Batches(image_pool(), size=7, augment=Augment(shear=10, flip=True)),
        Sinusoid(shots=3, queries=4),
    ],
    ids=["augment", "support", "no-queries", "batches", "batches-augment", "sinusoid"],
)
def test_other_draws_do_not_depend_on_chunks(sampler: il.data.Sampler) -> None:
    """So it is with augmentation, for plain batches and for functions."""
    for seed in range(5):
        assert_chunks_join(sampler, seed)


def leaves(task: il.Task) -> list[Tensor]:
    """The four tensors of a batch of tasks."""
    return [leaf for part in task for leaf in part]


def assert_chunks_join(sampler: il.data.Sampler, seed: int) -> None:
    """Eight tasks at once are three and then five."""
    generator = seeded(seed)
    parts = [sampler.draw(generator, 3), sampler.draw(generator, 5)]
    for whole, first, second in zip(leaves(sampler.draw(seeded(seed), 8)), *map(leaves, parts), strict=True):
        assert torch.equal(whole, torch.cat((first, second)))


def test_every_class_and_example_has_its_chance() -> None:
    """Over many episodes classes and, within a class of any size, examples come up equally often."""
    sizes = [4, 9, 6]
    sampler = FewShot(marked_pool(sizes), ways=2, shots=2, queries=1)
    episodes = sampler.episodes(seeded(0), 6000)
    counts = torch.bincount(episodes.classes.flatten(), minlength=3)
    assert (counts - 4000).abs().max() < 200
    used = torch.bincount(torch.cat((episodes.support, episodes.query), 1).flatten(), minlength=19)
    wanted = torch.cat([torch.full((size,), 3 * 4000 / size) for size in sizes])
    assert ((used - wanted).abs() / wanted).max() < 0.1


def test_whole_classes_are_used_up() -> None:
    """A class with exactly as many examples as needed gives each of them once."""
    sampler = FewShot(marked_pool([3, 8]), ways=2, shots=2, queries=1)
    task = sampler.draw(seeded(0), 5)
    x = torch.cat((task.support.x, task.query.x), 1)
    for row in x:
        small = row[row[:, 0] == 0]
        assert sorted(small[:, 1].tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 3}, "3 ways need 3 classes, the pool has 2"),
        ({"ways": 0}, "ways is 0"),
        ({"shots": 0}, "shots is 0"),
        ({"ways": 2.0}, "ways is 2.0; it must be a whole number"),
        ({"ways": True}, "ways is True; it must be a whole number"),
        ({"queries": "1"}, "queries is '1'; it must be a whole number"),
        ({"queries": -1}, "queries is -1"),
        ({"shots": 2, "queries": 2}, "need 4 examples a class, class 'c0' has 3"),
    ],
)
def test_few_shot_refuses(options: dict[str, int], message: str) -> None:
    """What the pool cannot give is refused, with the class named."""
    with pytest.raises(il.InputError, match=message):
        FewShot(marked_pool([3, 8]), **{"ways": 2, "shots": 1, "queries": 1, **options})


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 9), seeds())
def test_batches_hold_examples_with_their_classes(sizes: list[int], size: int, seed: int) -> None:
    """Any example of the pool with the one-hot row of its class; the support set is empty."""
    pool = marked_pool(sizes)
    task = Batches(pool, size=size).draw(seeded(seed), 2)
    assert task.support.x.shape == (2, 0, 2)
    assert task.support.y.shape == (2, 0, len(sizes))
    assert task.query.x.shape == (2, size, 2)
    assert torch.equal(task.query.y.argmax(2), task.query.x[..., 0].long())
    assert torch.equal(task.query.y.sum(2), torch.ones(2, size))


def test_batches_reach_every_example_equally() -> None:
    """Examples, not classes, are equally likely."""
    task = Batches(marked_pool([1, 3]), size=8000).draw(seeded(0), 1)
    counts = torch.bincount((task.query.x[0, :, 0] * 3 + task.query.x[0, :, 1]).long(), minlength=6)
    assert (counts[[0, 3, 4, 5]] - 2000).abs().max() < 200
    with pytest.raises(il.InputError, match="batch size is 0"):
        Batches(marked_pool([1, 3]), size=0)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_pool_of_groups_by_label(labels: list[int]) -> None:
    """Sorted by label, in the order given within a class; the names are the labels."""
    x = torch.arange(len(labels)).float().unsqueeze(1)
    pool = Pool.of(x, labels)
    assert pool.names == tuple(str(label) for label in sorted(set(labels)))
    for c, label in enumerate(sorted(set(labels))):
        own = pool.x[int(pool.starts[c]) : int(pool.starts[c] + pool.sizes[c])]
        assert own.flatten().tolist() == [i for i, other in enumerate(labels) if other == label]


def test_pool_only_takes_named_classes_in_order() -> None:
    """The classes asked for, in that order, and nothing else; an unknown one is named."""
    pool = marked_pool([2, 3, 1]).only(["c2", "c0"])
    assert (pool.names, pool.sizes.tolist()) == (("c2", "c0"), [1, 2])
    assert pool.x.tolist() == [[2, 0], [0, 0], [0, 1]]
    assert marked_pool([2]).only([]).classes == 0
    with pytest.raises(il.InputError, match=r"class 'c7' \(and 0 more\) is not in the pool of 2 classes"):
        marked_pool([2, 3]).only(["c0", "c7"])


def test_pool_rotated() -> None:
    """Four times the classes, turned by quarter turns; a full turn is the first again."""
    pool = image_pool()
    turned = pool.rotated()
    assert turned.classes == 20
    assert turned.names[5] == "0/rot090"
    quarter = turned.only([f"{c}/rot090" for c in range(5)])
    assert torch.equal(quarter.x, torch.rot90(pool.x, 1, (2, 3)))
    assert torch.equal(turned.only(pool.names).x, pool.x)
    assert torch.equal(torch.rot90(turned.only(["2/rot270"]).x, 1, (2, 3)), pool.only(["2"]).x)
    with pytest.raises(il.InputError, match="need square images"):
        marked_pool([2]).rotated()


def test_pool_gives_images_as_shares() -> None:
    """Bytes become floats in 0 to 1; floats stay as they are."""
    pool = Pool.of(torch.tensor([[0], [51], [255]], dtype=torch.uint8), [0, 0, 0])
    torch.testing.assert_close(pool.get(torch.tensor([[0, 1], [2, 2]])), torch.tensor([[[0.0], [0.2]], [[1.0], [1.0]]]))
    assert pool.shape == (1,)
    doubled = marked_pool([2, 1]).map(lambda x: 2 * x)
    assert doubled.x.tolist() == [[0, 0], [0, 2], [2, 0]]
    assert doubled.get(torch.tensor(1)).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((torch.zeros(3, 2), [2, 2], ("a", "b")), "pool of 3 examples has 2 sizes that sum to 4"),
        ((torch.zeros(3, 2), [2, 1], ("a",)), "and 1 names"),
        ((torch.zeros(3, 2), [3, 0], ("a", "b")), "class 'b' has no example"),
        ((torch.zeros(3, 2), [2, 1], ("a", "a")), "class 'a' stands twice"),
        ((torch.zeros(3, 2, dtype=torch.int64), [2, 1], ("a", "b")), "uint8 images or float features, not torch.int64"),
        ((torch.tensor([[1.0], [math.nan], [math.inf]]), [2, 1], ("a", "b")), "2 of 3 examples hold a value"),
    ],
)
def test_pool_refuses(parts: tuple[Tensor, list[int], tuple[str, ...]], message: str) -> None:
    """Parts that do not fit are refused, with the class or the count."""
    x, sizes, names = parts
    with pytest.raises(il.InputError, match=message):
        Pool(x, torch.tensor(sizes), names)


@pytest.mark.parametrize("names", ["ab", {"a", "b"}, {"a": 0, "b": 1}, ["a"], ["a", "b", "c"]])
def test_pool_of_refuses_names_that_do_not_fit(names: Any) -> None:
    """One for each label, in an order."""
    with pytest.raises(il.InputError, match=r"have no order|names for 2 classes"):
        Pool.of(torch.zeros(3, 2), [0, 1, 0], names)


def test_pool_of_refuses_missing_labels() -> None:
    """Each example has one label."""
    with pytest.raises(il.InputError, match="3 examples have 2 labels"):
        Pool.of(torch.zeros(3, 2), [0, 1])


@pytest.mark.parametrize(("first", "second"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_pools_share_no_class(first: str, second: str) -> None:
    """A class that leaks between splits is named, with both splits."""
    parts = {name: Pool.of(torch.zeros(2, 3), [0, 1], [f"{name}0", f"{name}1"]) for name in ("train", "val", "test")}
    Pools(**parts)
    parts[second] = Pool.of(torch.zeros(2, 3), [0, 1], ["new", f"{first}1"])
    with pytest.raises(il.InputError, match=f"1 classes stand in both {first} and {second} .*'{first}1'"):
        Pools(**parts)


def test_pools_have_one_shape() -> None:
    """Examples of the splits have one shape."""
    a, b, c = (Pool.of(torch.zeros(1, size), [0], [name]) for name, size in (("a", 3), ("b", 3), ("c", 4)))
    with pytest.raises(il.InputError, match="differ in shape"):
        Pools(a, b, c)


def test_augment_without_amounts_is_the_identity() -> None:
    """To the bit; and so is any amount at the middle of its range, up to interpolation."""
    x, u = torch.rand(5, 3, 6, 6), torch.rand(5, Augment.size)
    assert torch.equal(Augment()(x, u), x)
    middle = torch.full((5, Augment.size), 0.5)
    torch.testing.assert_close(Augment(shift=2, rotate=30, scale=0.2, shear=15)(x, middle), x, atol=1e-5, rtol=0)


def test_augment_is_a_function_of_its_numbers() -> None:
    """The same numbers give the same images, each image by its own; others give others."""
    augment = Augment(shift=1, rotate=20, scale=0.1, shear=5, flip=True)
    x, u = torch.rand(5, 1, 8, 8), torch.rand(5, Augment.size)
    changed = augment(x, u)
    assert changed.shape == x.shape
    assert torch.equal(changed, augment(x, u))
    torch.testing.assert_close(changed[2:3], augment(x[2:3], u[2:3]))
    assert not torch.allclose(changed, augment(x, torch.rand(5, Augment.size)))


def test_augment_moves_as_it_says() -> None:
    """Extreme numbers shift by whole pixels and turn by the full angle; half of the images are mirrored."""
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 3] = 1
    u = torch.full((1, Augment.size), 0.5)
    left = u.clone()
    left[0, 3] = 1.0
    wanted = torch.zeros(1, 1, 5, 5)
    wanted[0, 0, 2, 2] = 1
    torch.testing.assert_close(Augment(shift=1)(x, left), wanted, atol=1e-5, rtol=0)
    turn = u.clone()
    turn[0, 0] = 1.0
    quarter = Augment(rotate=90)(x, turn)
    assert any(torch.allclose(quarter, torch.rot90(x, k, (2, 3)), atol=1e-5) for k in (1, 3))
    flips = torch.rand(1000, Augment.size, generator=seeded(0))
    ramp = torch.arange(4.0).expand(1000, 1, 1, 4)
    mirrored = Augment(flip=True)(ramp, flips)[:, 0, 0, 0] == 3
    assert torch.equal(mirrored, flips[:, 5] < 0.5)


def test_augment_turns_images_that_are_not_square_without_stretching_them() -> None:
    """A quarter turn takes a point to where it is as far from the middle, in pixels; a sheared one likewise."""
    u = torch.full((1, Augment.size), 0.5)
    u[0, 0] = 1.0
    for height, width in ((21, 41), (41, 21), (31, 31)):
        x = torch.zeros(1, 1, height, width)
        x[0, 0, height // 2, width // 2 + 6] = 1
        turned = Augment(rotate=90)(x, u)[0, 0]
        row, column = divmod(int(turned.argmax()), width)
        assert abs(row - height // 2) == 6
        assert column == width // 2
        assert float(turned.sum()) == pytest.approx(1, abs=1e-4)
    sheared = torch.full((1, Augment.size), 0.5)
    sheared[0, 2] = 1.0
    x = torch.zeros(1, 1, 21, 41)
    x[0, 0, 10 - 6, 20] = 1
    moved = Augment(shear=45)(x, sheared)[0, 0]
    assert divmod(int(moved.argmax()), 41) in ((4, 14), (4, 26))


def test_augment_leaves_its_share_of_images_alone() -> None:
    """No image is mirrored or moved at probability 0; otherwise exactly those whose number says so."""
    x, u = torch.rand(400, 1, 4, 4, generator=seeded(0)), torch.rand(400, Augment.size, generator=seeded(1))
    for options in ({"flip": True}, {"shift": 1.0}, {"flip": True, "rotate": 20.0}):
        assert torch.equal(Augment(**options, probability=0)(x, u), x)
        same = (Augment(**options, probability=0.3)(x, u) == x).flatten(1).all(1)
        assert same[u[:, 6] >= 0.3].all()
    mirrored = (Augment(flip=True, probability=0.3)(x, u) != x).flatten(1).any(1)
    assert torch.equal(mirrored, (u[:, 6] < 0.3) & (u[:, 5] < 0.5))


@pytest.mark.parametrize("name", ["shift", "rotate", "scale", "shear"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_augment_refuses(name: str, value: float) -> None:
    """Amounts are at least 0 and finite."""
    with pytest.raises(il.InputError, match=f"augmentation {name} is"):
        Augment(**{name: value})


@given(st.integers(1, 9), st.integers(0, 9), seeds())
def test_sinusoid_is_a_sine(shots: int, queries: int, seed: int) -> None:
    """One wave a task: y = a sin(x - p) with a in (0.1, 5), p in (0, pi), x in (-5, 5), for support and query alike."""
    task = Sinusoid(shots=shots, queries=queries).draw(seeded(seed), 6)
    assert task.support.x.shape == (6, shots, 1)
    assert task.query.y.shape == (6, queries, 1)
    x, y = (torch.cat(parts, 1).squeeze(2).double() for parts in zip(*task, strict=True))
    assert x.abs().max() <= 5
    # a sin(x - p) = c sin x + s cos x: two numbers explain a task's points.
    basis = torch.stack((x.sin(), x.cos()), 2)
    numbers = torch.linalg.lstsq(basis, y.unsqueeze(2), driver="gelsd").solution
    torch.testing.assert_close((basis @ numbers).squeeze(2), y, atol=1e-5, rtol=0)
    assert y.abs().max() <= 5


def test_sinusoid_ranges() -> None:
    """Amplitude and phase fill their ranges."""
    task = Sinusoid(shots=40, queries=0).draw(seeded(0), 2000)
    x, y = (part.squeeze(2).double() for part in task.support)
    basis = torch.stack((x.sin(), x.cos()), 2)
    c, s = torch.linalg.lstsq(basis, y.unsqueeze(2)).solution.squeeze(2).unbind(1)
    amplitude, phase = (c**2 + s**2).sqrt(), torch.atan2(-s, c)
    for values, low, high in ((amplitude, 0.1, 5.0), (phase, 0.0, math.pi), (x.flatten(), -5.0, 5.0)):
        assert low - 1e-4 <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high + 1e-4
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    for options, words in (({"shots": 0}, "shots is 0; it must be at least 1"), ({"queries": -1}, "queries is -1")):
        with pytest.raises(il.InputError, match=words):
            Sinusoid(**options)


@pytest.mark.parametrize(
    ("labels", "message"), [([0, 3], "run from 0 to 3, but 3 ways allow 0 to 2"), ([-1, 2], "run from -1 to 2")]
)
def test_one_hot_refuses_labels_out_of_range(labels: list[int], message: str) -> None:
    """Labels lie in 0 .. ways - 1."""
    with pytest.raises(il.InputError, match=message):
        il.one_hot(torch.tensor(labels), 3)


def batch(**changes: Any) -> il.Task:
    """A well-formed batch of tasks, with some leaves changed."""
    shapes = {"xs": (2, 3, 4), "ys": (2, 3, 2), "xq": (2, 5, 4), "yq": (2, 5, 2)}
    parts = {name: torch.zeros(shape) for name, shape in shapes.items()}
    xs, ys, xq, yq = (parts | changes).values()
    return il.Task(il.Examples(xs, ys), il.Examples(xq, yq))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xs": torch.zeros(3, 4)}, "the support set has x"),
        ({"yq": torch.zeros(2, 4, 2)}, "the query set has x"),
        ({"ys": torch.zeros(2, 3)}, "a batch of tasks needs"),
        ({"xq": torch.full((2, 5, 4), math.nan)}, "40 of 40 values of the query set's x are not finite"),
        ({"xq": torch.zeros(2, 5, 3)}, "differ in the number of tasks or in the shape of an example"),
        ({"yq": torch.zeros(2, 5, 3)}, "support targets have 2 columns, query targets 3"),
    ],
)
def test_malformed_tasks_are_refused(changes: dict[str, Tensor], message: str) -> None:
    """The check names the part and both shapes; a sound batch passes."""
    il.core.task.check(batch())
    with pytest.raises(il.InputError, match=message):
        il.core.task.check(batch(**changes))


@pytest.mark.parametrize("kind", ["few-shot", "batches"])
def test_plain_tasks_are_the_drawn_ones_before_augmentation(kind: str) -> None:
    """The same examples and targets, unchanged; an augmentation of probability 0 changes nothing either."""
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    pool = il.Pool.of(images, [i % 4 for i in range(40)])

    def sampler(probability: float) -> il.data.Sampler:
        augment = il.data.Augment(shift=3, rotate=30, probability=probability)
        if kind == "batches":
            return il.Batches(pool, size=6, augment=augment)
        return il.FewShot(pool, ways=3, shots=2, queries=2, augment=augment)

    plain = sampler(1.0).plain(torch.Generator().manual_seed(4), 3)
    same = sampler(0.0).draw(torch.Generator().manual_seed(4), 3)
    moved = sampler(1.0).draw(torch.Generator().manual_seed(4), 3)
    for part, other in zip(plain, same, strict=True):
        assert torch.equal(part.x, other.x)
        assert torch.equal(part.y, other.y)
    assert torch.equal(plain.query.y, moved.query.y)
    assert not torch.equal(plain.query.x, moved.query.x)
