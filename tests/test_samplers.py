"""Laws that hold for every sampler: its facts are those of its tasks."""

from __future__ import annotations

from collections.abc import Callable

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
