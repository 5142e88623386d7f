"""Laws that hold for every sampler: its facts are those of its tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

import innerloop as il
from innerloop import data
from innerloop.core.facts import Facts
from innerloop.data import Sampler


def _pool(*shape: int, classes: int = 6, each: int = 8) -> data.Pool:
    x = torch.rand(classes * each, *shape, generator=Generator().manual_seed(0))
    return data.Pool.of(x, [i % classes for i in range(classes * each)])


def _letters() -> data.Pool:
    pool = _pool(1, 8, 8)
    return data.Pool(pool.x, pool.sizes, tuple(f"{alphabet}/{letter}" for alphabet in "ab" for letter in "xyz"))


def _table(folder: str, target: str) -> data.TableTasks:
    random = np.random.default_rng(0)
    rows = [f"{i % 6},{random.normal():.3f},{random.normal():.3f},{'abc'[i // 6 % 3]}" for i in range(180)]
    path = f"{folder}/{target}.csv"
    with open(path, "w") as file:
        file.write("\n".join(["task,a,b,c", *rows]))
    return data.TableTasks.read(path, task="task", inputs=("a", "b") if target == "c" else "a", targets=target)


def _molecules(folder: str) -> data.Molecules:
    random = np.random.default_rng(0)
    bits, labels = random.integers(0, 256, (90, 2)).astype("uint8"), random.integers(0, 2, (90, 5)).astype("int8")
    np.savez(f"{folder}/small.npz", fp_packed=bits, labels=labels, tasks=list("abcde"))
    return data.Molecules.read(f"{folder}/small.npz")


Make = Callable[[str], Sampler]
SAMPLERS: dict[str, tuple[Make, Facts]] = {
    "episodes of vectors": (
        lambda _: data.FewShot(_pool(5), ways=3, shots=1, queries=2),
        Facts("vectors", (5,), 3, "classification"),
    ),
    "episodes of images": (
        lambda _: data.FewShot(_pool(3, 8, 8), ways=3, shots=1, queries=2, augment=data.Augment(shift=1)),
        Facts("images", (3, 8, 8), 3, "classification"),
    ),
    "two drawers": (
        lambda _: data.TwoDrawers(_letters(), ways=4, groups=2, queries=2, augment=data.Augment(shift=1)),
        Facts("images", (1, 8, 8), 4, "classification"),
    ),
    "batches": (
        lambda _: data.Batches(_pool(1, 8, 8), size=4, augment=data.Augment(shift=1)),
        Facts("images", (1, 8, 8), 6, "classification", tuple("012345")),
    ),
    "stream": (
        lambda _: data.ClassStream(_pool(5), ways=3, shots=2, queries=1),
        Facts("vectors", (5,), 3, "classification"),
    ),
    "stream with a remember set": (
        lambda _: data.ClassStream(_pool(5), ways=3, shots=2, queries=1, remember=4),
        Facts("vectors", (5,), 6, "classification", tuple("012345")),
    ),
    "turned": (
        lambda _: data.Turned(_pool(1, 8, 8), size=3),
        Facts("images", (1, 8, 8), 4, "classification"),
    ),
    "views": (
        lambda _: data.Views(_pool(1, 8, 8), size=3, augment=data.Augment(shift=1)),
        Facts("images", (1, 8, 8), 3, "classification"),
    ),
    "completion": (
        lambda _: data.Completion(_pool(3, 8, 8), shots=5, queries=6),
        Facts("functions", (2,), 3, "regression"),
    ),
    "sine waves": (lambda _: data.Sinusoid(), Facts("functions", (1,), 1, "regression")),
    "gaussian process": (lambda _: data.GaussianProcess(), Facts("functions", (1,), 1, "regression")),
    "sawtooth": (lambda _: data.Sawtooth(), Facts("functions", (1,), 1, "regression")),
    "table": (
        lambda folder: _table(folder, "b").sampler("train", shots=4, queries=5),
        Facts("table", (1,), 1, "regression"),
    ),
    "table of classes": (
        lambda folder: _table(folder, "c").sampler("train", shots=4, queries=5),
        Facts("table", (2,), 3, "classification", ("c=a", "c=b", "c=c")),
    ),
    "assays": (
        lambda folder: _molecules(folder).sampler("train", shots=2, queries=2),
        Facts("molecules", (16,), 2, "classification", ("inactive", "active")),
    ),
    "known tasks": (
        lambda _: data.KnownTasks.of(data.Sinusoid(), 7, queries=4),
        Facts("functions", (1,), 1, "regression"),
    ),
    "named tasks of a table": (
        lambda folder: data.KnownTasks.table(_table(folder, "b"), queries=4, named=True),
        Facts("table", (1,), 1, "regression", tasks=4),
    ),
    "tables of a prior": (
        lambda _: data.TablePrior(features=(3, 3), classes=2, queries=4),
        Facts("table", (3,), 2, "classification"),
    ),
    "tables of a prior, real": (
        lambda _: data.TablePrior(features=(3, 3), regression=True, queries=4),
        Facts("table", (3,), 1, "regression"),
    ),
}


@pytest.fixture(params=SAMPLERS, scope="module")
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sampler, Facts]:
    make, facts = SAMPLERS[request.param]
    return make(str(tmp_path_factory.mktemp("data"))), facts


def test_facts_are_those_of_its_tasks(known: tuple[Sampler, Facts]) -> None:
    sampler, facts = known
    query = sampler.draw(Generator().manual_seed(1), 3).query
    assert sampler.facts == facts
    assert tuple(query.x.shape[2:]) == facts.shape
    assert query.y.shape[2] == facts.targets + (facts.tasks or 0)
    assert sampler.classifies == (facts.objective == "classification")


def test_a_sampler_of_ones_own_has_the_facts_that_its_tasks_show() -> None:
    class Own(Sampler):
        classifies = False

        def draw(self, generator: Generator, tasks: int) -> il.Task:
            part = il.Examples(torch.zeros(tasks, 2, 3), torch.zeros(tasks, 2, 4))
            return il.Task(part, part)

    assert Own().facts == Facts("vectors", (3,), 4, "regression")


def one_draw_is_one_size(sampler: Sampler) -> bool:
    """Whether tasks that are drawn together share sizes of their own."""
    shapes = {sampler.draw(Generator().manual_seed(seed), 1).support.x.shape for seed in range(9)}
    return len(shapes) > 1 or isinstance(sampler, data.TablePrior)


def test_tasks_drawn_together_are_those_drawn_in_turn(known: tuple[Sampler, Facts]) -> None:
    sampler, _ = known
    if one_draw_is_one_size(sampler):
        pytest.skip("draws share sizes that vary")
    generator = Generator().manual_seed(2)
    parts = [sampler.draw(generator, n) for n in (3, 5)]
    assert equal(parts, [sampler.draw(Generator().manual_seed(2), 8)])


def equal(some: list[il.Task], others: list[il.Task]) -> bool:
    """Whether both are the same tasks, however cut."""
    leaves = [(side, leaf) for side in (0, 1) for leaf in (0, 1)]
    one, other = ([torch.cat([task[i][j] for task in tasks]) for i, j in leaves] for tasks in (some, others))
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_pieces_of_an_evaluation_are_small_and_those_of_one_draw(
    known: tuple[Sampler, Facts], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, _ = known
    whole = list(sampler.batches(Generator().manual_seed(2), 60))
    monkeypatch.setattr("innerloop.data.episodes._BYTES", 6000)
    pieces = list(sampler.batches(Generator().manual_seed(2), 60))
    assert sum(len(piece.query.x) for piece in pieces) == 60
    if not one_draw_is_one_size(sampler):
        # Molecules come fifty at a time in any case.
        assert isinstance(sampler, data.Assays) or all(len(p.query.x) == 1 or nbytes(p) <= 6000 for p in pieces)
        assert equal(pieces, whole)


def nbytes(task: il.Task) -> int:
    return sum(leaf.nbytes for part in task for leaf in part)


def test_a_thousand_streams_over_many_classes_come_in_pieces() -> None:
    """Ten gigabytes in all, a quarter of one at a time."""
    pool = data.Pool.of(torch.zeros(1000, 3, 32, 32, dtype=torch.uint8), [i % 100 for i in range(1000)])
    stream = data.ClassStream(pool, ways=50, shots=5, queries=2, remember=50)
    first = next(iter(stream.batches(Generator().manual_seed(0), 1000)))
    assert 2**27 < nbytes(first) <= 2**28


CHANGE = data.Augment(shift=1, rotate=20, scale=0.1, shear=5, flip=True)
FEW = {"ways": 3, "shots": 2, "queries": 2}
POOLED: dict[str, Callable[[data.Pool], Sampler]] = {
    "episodes": lambda pool: data.FewShot(pool, **FEW, augment=CHANGE),
    "batches": lambda pool: data.Batches(pool, size=4, augment=CHANGE),
    "stream": lambda pool: data.ClassStream(pool, **FEW, augment=CHANGE),
    "stream with a remember set": lambda pool: data.ClassStream(pool, **FEW, remember=4, augment=CHANGE),
    "turned": lambda pool: data.Turned(pool, size=3, augment=CHANGE),
    "views": lambda pool: data.Views(pool, size=3, augment=CHANGE),
    "completion": lambda pool: data.Completion(pool, shots=5),
    "known tasks": lambda pool: data.KnownTasks.of(data.FewShot(pool, **FEW), 4, queries=2, named=True),
}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", POOLED)
def test_targets_are_of_the_inputs_type(name: str, dtype: torch.dtype) -> None:
    """Bytes become float32; every other pool's tasks are of its type, inputs and targets alike."""
    pool = _pool(3, 8, 8)
    pool = pool.map(lambda x: (255 * x).to(dtype) if dtype == torch.uint8 else x.to(dtype))
    sampler = POOLED[name](pool)
    for tasks in (sampler.draw(Generator(), 2), sampler.plain(Generator(), 2)):
        for part in tasks:
            assert part.x.dtype == part.y.dtype == (torch.float32 if dtype == torch.uint8 else dtype)


@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_pools_of_float64_are_learned_from(learner: str) -> None:
    sampler = data.FewShot(_pool(5).map(torch.Tensor.double), ways=3, shots=2, queries=2)
    made = il.ProtoNet(il.nets.mlp(5, 8, 4)) if learner == "protonet" else il.MAML(il.nets.mlp(5, 8, 3), lr=0.1)
    losses = il.lift(made.double(), "loop").backward(sampler.draw(Generator(), 3))
    assert losses.dtype == torch.float64
    assert losses.isfinite().all()


@pytest.mark.parametrize("name", POOLED)
def test_samplers_say_whether_they_augment(name: str) -> None:
    """All alike, and what is plain differs from what is drawn exactly where they do."""
    sampler = POOLED[name](_pool(3, 8, 8))
    assert sampler.augmented == (name not in ("completion", "known tasks"))
    if name not in ("turned", "views"):
        drawn, plain = sampler.draw(Generator(), 2), sampler.plain(Generator(), 2)
        assert sampler.augmented != torch.equal(drawn.query.x, plain.query.x)

    class Wrapped(Sampler):
        def __init__(self, inner: Sampler) -> None:
            self.inner = inner

        def draw(self, generator: Generator, tasks: int) -> il.Task:
            return self.inner.draw(generator, tasks)

    assert Wrapped(sampler).augmented == sampler.augmented
    if sampler.augmented:
        for augmenting in (sampler, Wrapped(sampler)):
            with pytest.raises(il.InputError, match="not augmented"):
                il.evaluate(il.ProtoNet(il.nets.conv4((3, 8, 8), width=4, pools=1)), augmenting, tasks=2)


def test_a_digest_follows_from_content_and_options(known: tuple[Sampler, Facts], tmp_path: Path) -> None:
    """The same one when made again, another one for another option, whatever was drawn in between."""
    sampler, _ = known
    digests = []
    for name, (make, _) in SAMPLERS.items():
        (folder := tmp_path / name.replace(" ", "_")).mkdir()
        digests.append(make(str(folder)).digest)
    before = sampler.digest
    list(sampler.batches(Generator(), 3))
    assert before == sampler.digest
    assert before in digests
    assert len(set(digests)) == len(SAMPLERS)


def test_digests_tell_data_and_options_apart() -> None:
    pool = _pool(1, 8, 8)
    other = data.Pool(pool.x.clone(), pool.sizes, pool.names)
    options = {"ways": 3, "shots": 1, "queries": 2}
    base = data.FewShot(pool, **options).digest
    assert data.FewShot(other, **options).digest == base
    other.x[0, 0, 0, 0] += 0.1
    changed = data.Pool(other.x, pool.sizes, pool.names)
    renamed = data.Pool(pool.x, pool.sizes, tuple("abcdef"))
    resized = data.Pool(pool.x, torch.tensor([7, 9, 8, 8, 8, 8]), pool.names)
    halved = data.Pool(pool.x.half(), pool.sizes, pool.names)
    samplers = [data.FewShot(part, **options) for part in (changed, renamed, resized, halved)]
    samplers += [data.FewShot(pool, **{**options, name: 4}) for name in options]
    for name in ("shift", "rotate", "flip"):
        samplers.append(data.FewShot(pool, **options, augment=data.Augment(**{name: 1})))
    samplers.append(data.FewShot(pool, **options, query_augment=data.Augment(shift=1)))
    found = [sampler.digest for sampler in samplers]
    assert len({base, *found}) == 1 + len(found)
    assert data.GaussianProcess("rbf").digest != data.GaussianProcess("rbf", noise=0.1).digest
    assert data.Sinusoid(shots=5).digest != data.Sinusoid(shots=6).digest


def test_floats_to_255_are_warned_of() -> None:
    """Wherever images are given; what is standardized, in 0 to 1, bytes or no image is taken as it is."""
    bright = 255 * torch.rand(6, 3, 4, 4)
    with pytest.warns(UserWarning, match="divide them by 255"):
        data.Pool.of(bright, [0, 1] * 3)
    with pytest.warns(UserWarning, match="divide them by 255"):
        il.examples(bright, [0, 1] * 3)
    standard = (bright - bright.mean()) / bright.std()
    for x in (bright / 255, bright.byte(), bright - 127, standard, bright.flatten(1), bright.repeat(1, 2, 1, 1)):
        data.Pool.of(x, [0, 1] * 3)
