"""One-shot tasks within an alphabet, from one drawer to another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_datasets import OMNIGLOT, needs_omniglot
from torch import Generator

import innerloop as il
from innerloop.data import Augment, Pool, TwoDrawers, omniglot_oneshot, trials
from innerloop.data.drawers import alphabets
from innerloop.data.sets.omniglot_oneshot import eightfold
from innerloop.recipes import defaults

DRAWERS = 6
LETTERS = {"greek": 5, "runes": 4, "signs": 2}


def letters() -> Pool:
    """An example is its class and its drawer, ``[2]``."""
    names = [f"{alphabet}/{letter}" for alphabet, count in LETTERS.items() for letter in range(count)]
    x = torch.cartesian_prod(torch.arange(len(names)), torch.arange(DRAWERS)).float()
    return Pool(x, torch.full((len(names),), DRAWERS), tuple(names))


def groups_of(pool: Pool, classes: torch.Tensor) -> list[list[str]]:
    """The alphabet of each class of each task."""
    return [[pool.names[place].split("/")[0] for place in row] for row in classes.tolist()]


@pytest.mark.parametrize(("ways", "groups", "queries"), [(4, 1, 1), (2, 1, 3), (6, 3, 2), (4, 2, 1)])
def test_classes_share_an_alphabet_and_drawers_are_apart(ways: int, groups: int, queries: int) -> None:
    pool = letters()
    sampler = TwoDrawers(pool, ways=ways, groups=groups, queries=queries)
    found = sampler.episodes(Generator().manual_seed(0), 50)
    task = sampler.gather(found)
    each = ways // groups
    for row, classes, support, query in zip(
        groups_of(pool, found.classes), found.classes, task.support.x, task.query.x, strict=True
    ):
        assert len(set(classes.tolist())) == ways
        names = [row[i * each : (i + 1) * each] for i in range(groups)]
        assert [len(set(part)) for part in names] == [1] * groups
        assert len({part[0] for part in names}) == groups
        # Example i is of way i % ways, in both sets.
        assert support[:, 0].equal(classes.float())
        assert query[:, 0].equal(classes.float().repeat(queries))
        for place in range(groups):
            own = slice(place * each, (place + 1) * each)
            shown = set(support[own, 1].tolist())
            asked = query[:, 1].view(queries, ways)[:, own]
            assert len(shown) == 1
            assert all(len(set(part.tolist())) == 1 for part in asked)
            assert len({*shown, *asked[:, 0].tolist()}) == 1 + queries


def test_an_alphabet_comes_in_proportion_to_its_letters() -> None:
    pool = letters()
    found = TwoDrawers(pool, ways=4).episodes(Generator().manual_seed(0), 4000)
    share = sum(row[0] == "greek" for row in groups_of(pool, found.classes)) / 4000
    assert share == pytest.approx(5 / 9, abs=0.03)
    # Every pair of drawers, either way round, and every letter.
    assert len({(int(s[0]) % DRAWERS, int(q[0]) % DRAWERS) for s, q in zip(*found[1:], strict=True)}) == 30
    assert found.classes.unique().tolist() == list(range(9))


def test_tasks_do_not_depend_on_how_many_are_drawn_at_once() -> None:
    sampler = TwoDrawers(letters(), ways=4, groups=2)
    whole = sampler.episodes(Generator().manual_seed(3), 8)
    generator = Generator().manual_seed(3)
    parts = [sampler.episodes(generator, count) for count in (3, 5)]
    assert all(torch.cat(pair).equal(one) for *pair, one in zip(*parts, whole, strict=True))


def test_a_change_together_is_one_for_all_images_of_a_group() -> None:
    # Every letter by every drawer is the same picture, so only what changes it tells images apart.
    picture = torch.zeros(1, 1, 9, 9)
    picture[..., 2:5, 3:8] = 1
    names = tuple(f"{alphabet}/{letter}" for alphabet in "abc" for letter in "wxyz")
    pool = Pool(picture.expand(36, 1, 9, 9).clone(), torch.full((12,), 3), names)
    sampler = TwoDrawers(pool, ways=6, groups=3, queries=2, together={"rotate": 90, "shift": 2})
    task = sampler.draw(Generator().manual_seed(0), 5)
    shown = torch.cat((task.support.x, task.query.x), 1).view(5, 3, 3, 2, 9, 9)
    first = shown[:, :1, :, :1]
    assert shown.equal(first.expand_as(shown))
    kinds = {tuple(image.flatten().tolist()) for image in first.reshape(15, 81)}
    assert len(kinds) == 15
    assert tuple(picture.flatten().tolist()) not in kinds
    assert not sampler.plain(Generator().manual_seed(0), 5).support.x.sub(picture).any()


def test_each_image_has_a_change_of_its_own_beside_that_of_its_group() -> None:
    pool = Pool(torch.rand(12, 1, 9, 9), torch.full((4,), 3), ("a/w", "a/x", "b/y", "b/z"))
    own, alike = Augment(shift=2, probability=0.5), {"rotate": 90.0, "probability": 0.5}
    sampler = TwoDrawers(pool, ways=4, groups=2, augment=own, together=alike)
    generator = Generator().manual_seed(7)
    classes, examples, support, query, group = sampler.uniform(generator, 3)
    chosen = sampler.choose(classes, examples)
    rows = group.view(3, 2, 1, 7).expand(3, 2, 2, 7).reshape(12, 7)
    for index, change, part in zip(
        chosen[1:], (support, query), sampler.draw(generator.manual_seed(7), 3), strict=True
    ):
        turned = Augment(**alike)(pool.get(index).flatten(0, 1), rows)
        assert part.x.flatten(0, 1).equal(own(turned, change.reshape(12, 7)))
    whole = sampler.draw(Generator().manual_seed(3), 4)
    generator = Generator().manual_seed(3)
    parts = [sampler.draw(generator, count) for count in (1, 3)]
    assert torch.cat([part.query.x for part in parts]).equal(whole.query.x)
    assert sampler.augmented
    assert sampler.digest != TwoDrawers(pool, ways=4, groups=2, augment=own).digest


@pytest.mark.parametrize(
    ("amounts", "words"),
    [({"rotat": 9}, "did you mean rotate"), ({"shift": -1.0}, "shift is -1.0; it must be at least 0")],
)
def test_a_change_together_that_cannot_be_is_refused(amounts: dict[str, float], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        TwoDrawers(letters(), ways=4, together=amounts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ways": 5, "groups": 2}, "5 ways are not divided by 2 groups"),
        ({"ways": 8, "groups": 2}, "2 groups have 4 classes|lower the ways"),
        ({"ways": 4, "groups": 0}, "groups is 0"),
        ({"ways": 4, "queries": 6}, "need 7 examples"),
        ({"ways": 6}, "0 groups have 6 classes, 1 are needed"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        TwoDrawers(letters() if options["ways"] != 8 else letters().only(letters().names[:8]), **options)


def test_classes_without_a_group_or_a_drawer_are_refused() -> None:
    x = torch.zeros(5, 1)
    with pytest.raises(il.InputError, match="'alpha' names no group"):
        TwoDrawers(Pool(x, torch.tensor([2, 3]), ("alpha", "beta")), ways=2)
    with pytest.raises(il.InputError, match="2 to 3 examples"):
        TwoDrawers(Pool(x, torch.tensor([2, 3]), ("a/alpha", "a/beta")), ways=2)


def test_trials_have_two_runs_of_an_alphabet_and_no_drawer_twice() -> None:
    pool = letters()
    given = trials(pool, ways=4, groups=2, runs=3, seed=1).given
    assert given.classes.shape == (6, 4)
    names = [row[0] for row in groups_of(pool, given.classes)]
    assert sorted(names) == ["greek"] * 3 + ["runes"] * 3
    drawers = torch.cat((given.support, given.query), 1) % DRAWERS
    for start in (0, 3):
        pairs = [{int(d) for d in row} for row in drawers[start : start + 3]]
        assert [len(pair) for pair in pairs] == [2, 2, 2]
        assert len(set.union(*pairs)) == DRAWERS
    assert (given.support // DRAWERS).equal(given.classes)
    assert (given.query // DRAWERS).equal(given.classes)
    assert not trials(pool, ways=4, groups=2, runs=3, seed=2).given.support.equal(given.support)


@pytest.mark.parametrize(("options", "words"), [({"groups": 3}, "2 groups have 4 classes"), ({"runs": 4}, "need 8")])
def test_trials_that_cannot_be_are_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        trials(letters(), **{"ways": 4, "groups": 2, "runs": 1, **options})


def test_eight_forms_are_the_symmetries_of_the_square() -> None:
    image = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    pool = eightfold(Pool(image, torch.tensor([1]), ("a/x",)))
    assert len({tuple(form.flatten().tolist()) for form in pool.x}) == 8
    assert list(alphabets(pool)) == [
        f"a{mirror}{turn}" for turn in ("", "/rot090", "/rot180", "/rot270") for mirror in ("", "/mirror")
    ]
    assert pool.x[pool.names.index("a/x/mirror/rot090"), 0].tolist() == [[1, 3], [2, 4]]


def test_a_share_of_the_classes_keeps_the_forms_of_a_class_together() -> None:
    pool = eightfold(Pool(torch.zeros(4, 1, 2, 2), torch.ones(4, dtype=torch.int64), ("a/w", "a/x", "b/y", "b/z")))
    kept = il.data.Shares(classes=0.5).of_pool(pool)
    assert kept.classes == 16
    assert len({"/".join(name.split("/")[:2]) for name in kept.names}) == 2


@needs_omniglot
def test_the_recipe_trains_on_background_alphabets_and_is_judged_upright(tmp_path: Path) -> None:
    pools = omniglot_oneshot(OMNIGLOT, size=8, cache=False)
    assert (pools.train.classes, pools.val.classes, pools.test.classes) == (8 * 792, 172, 659)
    known = {split: {name.split("/")[0] for name in pools.part(split).names} for split in ("train", "val", "test")}
    assert [len(found) for found in known.values()] == [25, 5, 20]
    assert len(set.union(*known.values())) == 50
    recipe = defaults("protonet", "omniglot_oneshot")
    training = recipe.sampler(pools)
    assert isinstance(training, TwoDrawers)
    assert (training.ways, training.groups) == (60, 4)
    for split in ("val", "test"):
        judged = recipe.episodes_of(pools, split, ways=20, queries=1)
        assert isinstance(judged, TwoDrawers)
        assert (judged.groups, judged.augmented) == (1, False)
    assert len(trials(pools.test).given.classes) == 20


@needs_omniglot
def test_all_but_some_of_the_background_alphabets_can_train() -> None:
    five, one = (omniglot_oneshot(OMNIGLOT, size=8, symmetries=False, held_out=count) for count in (5, 1))
    assert (one.train.classes, one.val.classes, one.test.classes) == (792 + 150, 22, 659)
    assert {name.split("/")[0] for name in one.val.names} == {"Early_Aramaic"}
    assert not {*one.train.names} & {*one.val.names}
    assert {*one.train.names, *one.val.names} == {*five.train.names, *five.val.names}
    name = "Hebrew/character05"
    (there,), (here,) = five.val.positions([name]), one.train.positions([name])
    assert five.val.x[20 * there : 20 * there + 20].equal(one.train.x[20 * here : 20 * here + 20])


@pytest.mark.parametrize("count", [0, 6, 2.5])
def test_a_number_of_validating_alphabets_that_there_is_not_is_refused(count: float, tmp_path: Path) -> None:
    with pytest.raises(il.InputError, match=f"held_out is {count}"):
        omniglot_oneshot(tmp_path, held_out=count)
