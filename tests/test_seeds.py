"""Several seeds of one recipe: a crossed design, by hand and by what it must come to."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

import innerloop as il
from innerloop.core.metric import ACCURACY, NLL
from innerloop.evaluation import stats
from innerloop.evaluation.seeds import crossed


def tasks(ways: int = 3) -> il.FewShot:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20).repeat_interleave(8)
    x = 1.5 * torch.randn(20, 4, generator=generator)[labels] + torch.randn(160, 4, generator=generator)
    return il.FewShot(il.Pool.of(x, labels), ways=ways, shots=2, queries=5)


def reports(seeds: int = 3, width: int = 6, **options: object) -> list[il.Report]:
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        found.append(il.evaluate(il.ProtoNet(il.nets.mlp(4, width, 3)), tasks(), tasks=80, how="loop", **options))
    return found


def test_the_parts_of_the_spread_by_hand() -> None:
    """The two-way analysis of variance without repetition, term by term."""
    values = np.random.default_rng(0).normal(size=(3, 40)) + np.array([[0.0], [1.0], [2.5]])
    found = crossed(values, NLL)
    total = np.square(values - values.mean()).sum()
    of_seeds = 40 * np.square(values.mean(1) - values.mean()).sum()
    of_tasks = 3 * np.square(values.mean(0) - values.mean()).sum()
    rest = (total - of_seeds - of_tasks) / (2 * 39)
    assert found.rest**2 == pytest.approx(rest)
    assert found.of_seeds**2 == pytest.approx((of_seeds / 2 - rest) / 40)
    assert found.of_episodes**2 == pytest.approx(max(of_tasks / 39 - rest, 0) / 3)
    assert found.each == pytest.approx(values.mean(1))
    assert (found.seeds, found.tasks) == (3, 40)


def test_seeds_that_differ_by_a_constant_alone() -> None:
    """Without skewness, and with the same episodes for all, both parts are those of a list of numbers."""
    shift, one = np.array([-1.0, 0.0, 1.0]), np.linspace(-1, 1, 21)
    found = crossed(shift[:, None] + one, NLL)
    assert found.rest == pytest.approx(0, abs=1e-12)
    seed_half = scipy_stats.t.ppf(0.975, 2) * scipy_stats.sem(shift)
    task_half = scipy_stats.t.ppf(0.975, 20) * scipy_stats.sem(one)
    assert found.interval[1] == pytest.approx(np.hypot(seed_half, task_half))
    assert found.interval[0] == pytest.approx(-found.interval[1])


def test_seeds_that_agree_leave_the_interval_of_episodes() -> None:
    one = np.random.default_rng(0).exponential(size=30)
    found = crossed(np.stack([one, one, one]), NLL)
    assert found.interval == pytest.approx(stats.interval(one))
    assert (found.of_seeds, found.rest) == pytest.approx((0, 0))
    alike = crossed(np.ones((2, 5)), ACCURACY, (0.0, 1.0))
    assert alike.interval == stats.interval(np.ones(5), bounds=(0, 1))


def test_reports_of_seeds() -> None:
    found = il.over_seeds(reports())
    each = [report.value for report in reports()]
    assert found.each == pytest.approx(each)
    assert found.value == pytest.approx(np.mean(each))
    assert found.metric.name == "accuracy"
    low, high = found.interval
    assert 0 <= low < found.value < high <= 1
    assert found.open_interval is not None
    assert found.open_interval[1] - found.open_interval[0] > high - low
    assert json.loads(json.dumps(found.json()))["deviation"]["seeds"] == found.of_seeds
    assert str(found).startswith("3 seeds: accuracy ")
    assert il.over_seeds(reports(open=False)).open_interval is None
    assert il.over_seeds(reports(), metric="nll").metric.name == "nll"


def test_seeds_against_seeds() -> None:
    """Signed by the metric, paired by seed and episode, and nothing where they are the same."""
    first, second = reports(width=6), reports(width=2)
    found, back = il.over_seeds(first, second), il.over_seeds(second, first)
    assert found.difference
    assert found.value == pytest.approx(np.mean([a.value - b.value for a, b in zip(first, second, strict=True)]))
    assert back.value == pytest.approx(-found.value)
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    gaps = [b.mean("nll") - a.mean("nll") for a, b in zip(first, second, strict=True)]
    assert il.over_seeds(first, second, metric="nll").value == pytest.approx(np.mean(gaps))
    same = il.over_seeds(first, first)
    assert (same.value, same.interval) == (0, (0, 0))


def test_what_is_refused() -> None:
    few, other = reports(2), [il.evaluate(il.ProtoNet(il.nets.mlp(4, 3)), tasks(2), tasks=80)] * 2
    with pytest.raises(il.InputError, match="two runs or more"):
        il.over_seeds(few[:1])
    with pytest.raises(il.InputError, match="same tasks"):
        il.over_seeds([few[0], other[0]])
    with pytest.raises(il.InputError, match="2 seeds against 1"):
        il.over_seeds(few, few[:1])
    with pytest.raises(il.InputError, match="acuracy"):
        il.over_seeds(few, metric="acuracy")
    none = [replace(report, per_task={name: np.full(80, np.nan) for name in report.per_task}) for report in few]
    with pytest.raises(il.InputError, match="finite"):
        il.over_seeds(none)


def test_a_missing_value_leaves_its_episode_out() -> None:
    few = reports(2)
    broken = np.array(few[0].per_task["accuracy"])
    broken[3] = np.nan
    found = il.over_seeds([replace(few[0], per_task={**few[0].per_task, "accuracy": broken}), few[1]])
    assert found.tasks == 79
