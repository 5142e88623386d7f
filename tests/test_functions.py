"""Families of functions: sizes, ranges, seeds, and moments against the covariance that they are drawn with."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch.utils import _pytree as pytree

import innerloop as il
from innerloop.data import Completion, GaussianProcess, Pool, Sampler, Sawtooth, Sinusoid, TableTasks
from innerloop.data.gaussian_process import JITTER, KERNELS, Hyperparameters, covariance

FAST = {"shots": 5, "queries": 4}


def seeded(seed: int) -> Generator:
    """A generator of that seed."""
    return Generator().manual_seed(seed)


def leaves(task: il.Task) -> list[Tensor]:
    """The four tensors of a batch of tasks."""
    return pytree.tree_leaves(task)


def images(height: int = 6, width: int = 5) -> Pool:
    """Ten images whose bytes are all different within an image."""
    first = torch.arange(10).view(10, 1, 1, 1)
    pixel = torch.arange(height * width).view(1, 1, height, width)
    return Pool.of((first + 3 * pixel).to(torch.uint8), [i % 2 for i in range(10)])


@given(st.integers(0, 2**32))
def test_protocol_of_the_sizes(seed: int) -> None:
    """3 to 46 support points, 3 to 49 minus those query points; x in -2 to 2; equal sizes within a draw."""
    support, query = GaussianProcess("rbf").draw(seeded(seed), 3)
    shots, queries = support.x.shape[1], query.x.shape[1]
    assert 3 <= shots <= 46
    assert 3 <= queries <= 49 - shots
    assert support.x.shape == support.y.shape == (3, shots, 1)
    assert query.x.shape == query.y.shape == (3, queries, 1)
    x = torch.cat((support.x, query.x), 1)
    assert -2 <= x.min() < x.max() <= 2
    assert {leaf.dtype for leaf in (*support, *query)} == {torch.float32}


def test_sizes_are_uniform() -> None:
    """Each number of support points is as likely, and given it each number of query points."""
    sampler, generator = GaussianProcess("rbf"), seeded(0)
    drawn = torch.tensor([sampler.sizes(generator) for _ in range(22_000)])
    often = torch.bincount(drawn[:, 0], minlength=47)[3:]
    # 500 are expected of each; chi squared has 43 degrees of freedom, 78 is its 99.9 % point.
    assert float(((often - 500.0) ** 2 / 500).sum()) < 78
    given_ten = drawn[drawn[:, 0] == 10, 1]
    assert (int(given_ten.min()), int(given_ten.max())) == (3, 39)
    assert float(given_ten.double().mean()) == pytest.approx(21, abs=2.0)


def test_fixed_sizes_and_ranges() -> None:
    """A number is that number; a range is inclusive; a total binds only an open range of queries."""
    task = GaussianProcess("rbf", shots=30, queries=40).draw(seeded(0), 2)
    assert (task.support.x.shape[1], task.query.x.shape[1]) == (30, 40)
    sampler, generator = GaussianProcess("rbf", shots=(2, 3), queries=(1, None), total=5), seeded(0)
    assert {sampler.sizes(generator) for _ in range(200)} == {(2, 1), (2, 2), (2, 3), (3, 1), (3, 2)}
    assert sampler.largest == 5
    assert GaussianProcess("rbf", shots=(3, 50), queries=(3, 50)).largest == 100


@pytest.mark.parametrize("sampler", [GaussianProcess("rbf", **FAST), Sawtooth(**FAST), Completion(images(), **FAST)])
def test_tasks_drawn_together_are_those_drawn_in_turn(sampler: Sampler) -> None:
    """With fixed sizes, ``draw(g, 8)`` is ``draw(g, 3)`` followed by ``draw(g, 5)``."""
    generator = seeded(4)
    parts = [sampler.draw(generator, 3), sampler.draw(generator, 5)]
    whole = sampler.draw(seeded(4), 8)
    for got, a, b in zip(leaves(whole), *map(leaves, parts), strict=True):
        assert torch.equal(got, torch.cat((a, b)))


@pytest.mark.parametrize("sampler", [GaussianProcess("periodic"), Sawtooth(), Completion(images()), Sinusoid()])
def test_a_seed_gives_one_draw(sampler: Sampler) -> None:
    """The same seed gives the same tasks, another one others; they are regressions."""
    first, again, other = (sampler.draw(seeded(seed), 4) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(leaves(first), leaves(again), strict=True))
    assert not torch.equal(first.query.y, other.query.y)
    assert not sampler.classifies


def test_batches_have_sizes_of_their_own() -> None:
    """Where sizes vary, ``batches`` gives draws of ``together`` tasks; otherwise a single one."""
    batches = list(GaussianProcess("rbf", together=4).batches(seeded(0), 18))
    assert [len(batch.query.x) for batch in batches] == [4, 4, 4, 4, 2]
    assert len({batch.support.x.shape[1] for batch in batches}) > 2
    assert [len(batch.query.x) for batch in GaussianProcess("rbf", **FAST).batches(seeded(0), 18)] == [18]
    assert [len(batch.query.x) for batch in Sinusoid().batches(seeded(0), 18)] == [18]


def test_hyperparameters_lie_in_their_ranges() -> None:
    """Uniform over the range; fixed where one value is given."""
    _, known = GaussianProcess("periodic", **FAST).draw_with(seeded(0), 4000)
    for value, low, high in ((known.lengthscale, 0.1, 0.6), (known.scale, 0.1, 1.0), (known.period, 0.1, 0.5)):
        assert low <= float(value.min()) < float(value.max()) <= high
        assert float(value.mean()) == pytest.approx((low + high) / 2, abs=0.02)
        assert float(value.std()) == pytest.approx((high - low) / math.sqrt(12), rel=0.04)
    assert torch.equal(known.noise, torch.full((4000,), 0.02, dtype=torch.float64))
    sampler = GaussianProcess("rbf", lengthscale=0.25, scale=(2.0, 3.0), noise=0.0, **FAST)
    task, known = sampler.draw_with(seeded(0), 50)
    assert set(known.lengthscale.tolist()) == {0.25}
    assert 2 <= float(known.scale.min()) < float(known.scale.max()) <= 3
    assert torch.equal(task.query.y, sampler.draw(seeded(0), 50).query.y)


def correlation(kernel: str, d: float, lengthscale: float, period: float) -> float:
    """The kernels as their sources print them."""
    eq = math.exp(-0.5 * (d / lengthscale) ** 2)
    wave = math.sin(math.pi * d / period)
    return {
        "rbf": eq,
        "matern52": (1 + math.sqrt(5) * d / lengthscale + 5 * d**2 / (3 * lengthscale**2))
        * math.exp(-math.sqrt(5) * d / lengthscale),
        "periodic": math.exp(-2 * (wave / lengthscale) ** 2),
        "weakly_periodic": eq * math.exp(-2 * wave**2),
    }[kernel]


@pytest.mark.parametrize("kernel", KERNELS)
def test_covariance_is_the_published_one(kernel: str) -> None:
    """Each entry of the matrix, for two processes at once."""
    known = Hyperparameters(*torch.tensor([[0.3, 0.5], [2.0, 0.7], [0.1, 0.1], [0.4, 0.25]], dtype=torch.float64))
    a, b = torch.randn(2, 4, 1, dtype=torch.float64), torch.randn(2, 3, 1, dtype=torch.float64)
    got = covariance(kernel, known, a, b)
    for t, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(3)).tolist():
        d = abs(float(a[t, i] - b[t, j]))
        wanted = float(known.scale[t]) ** 2 * correlation(
            kernel, d, float(known.lengthscale[t]), float(known.period[t])
        )
        assert float(got[t, i, j]) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_draws_have_the_moments_of_their_process(kernel: str) -> None:
    """Y y' of two points averages to the kernel at their distance; the variance is that of function and noise."""
    sampler = GaussianProcess(kernel, shots=1, queries=1, lengthscale=0.4, scale=1.5, noise=0.5, period=0.7)
    support, query = sampler.draw(seeded(0), 40_000)
    a, b = support.y.flatten().double(), query.y.flatten().double()
    d = (support.x - query.x).flatten().abs().double()
    wanted = torch.tensor([2.25 * correlation(kernel, float(value), 0.4, 0.7) for value in d[:4000]])
    assert float(a.mean()) == pytest.approx(0, abs=0.035)
    assert float(a.var()) == pytest.approx(2.25 + 0.25, rel=0.03)
    assert float((a * b).mean()) == pytest.approx(float(wanted.mean()), abs=0.09)
    near = d < 0.05
    close = torch.tensor([2.25 * correlation(kernel, float(value), 0.4, 0.7) for value in d[near]])
    assert float((a * b)[near].mean()) == pytest.approx(float(close.mean()), rel=0.15)


def test_draws_are_white_once_decorrelated() -> None:
    """The inverse Cholesky factor of the tasks' covariance turns y into independent standard normals."""
    task, known = GaussianProcess("matern52", shots=20, queries=20, noise=0.1).draw_with(seeded(0), 500)
    x, y = (torch.cat(sides, 1).double() for sides in zip(*task, strict=True))
    noise = (known.noise**2 + JITTER * known.scale**2)[:, None, None] * torch.eye(40)
    factor = torch.linalg.cholesky(covariance("matern52", known, x, x) + noise)
    white = torch.linalg.solve_triangular(factor, y, upper=False)
    assert float(white.mean()) == pytest.approx(0, abs=4 / math.sqrt(20_000))
    assert float(white.square().mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / 20_000))
    assert float((white[:, 1:] * white[:, :-1]).mean()) == pytest.approx(0, abs=4 / math.sqrt(19_500))


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_noiseless_protocol_draws(kernel: str) -> None:
    """100 points without noise: the covariance is singular but for the jitter."""
    options = {"lengthscale": 0.6, "scale": 1.0, "noise": 0.0, "period": 0.25}
    task = GaussianProcess(kernel, shots=50, queries=50, **options).draw(seeded(0), 16)
    assert all(leaf.isfinite().all() for leaf in leaves(task))


def test_sawtooth_is_a_sawtooth() -> None:
    """With many terms it rises from 0 to 1 in each period, and starts again."""
    task = Sawtooth(shots=50, queries=50, frequency=2.0, shift=(0.0, 0.0), terms=2000).draw(seeded(0), 3)
    x, y = (torch.cat(sides, 1)[..., 0].double() for sides in zip(*task, strict=True))
    # The series jumps where frequency times x is a half; near a jump a finite one overshoots.
    phase = (2 * x + 0.5) % 1
    inner = (phase > 0.05) & (phase < 0.95)
    torch.testing.assert_close(y[inner], phase[inner], atol=0.01, rtol=0)


def test_sawtooth_by_its_series() -> None:
    """The published sum, term by term, of one or two terms."""
    sampler = Sawtooth(shots=3, queries=2, terms=(1, 2), frequency=(1.0, 1.0), shift=(0.25, 0.25))
    task = sampler.draw(seeded(0), 40)
    x, y = (torch.cat(sides, 1)[..., 0].double() for sides in zip(*task, strict=True))
    first = 0.5 + torch.sin(2 * math.pi * (x + 0.25)) / math.pi
    second = first - torch.sin(4 * math.pi * (x + 0.25)) / (2 * math.pi)
    one, two = ((y - wanted).abs().amax(1) < 1e-5 for wanted in (first, second))
    assert (one | two).all()
    assert 8 < int(one.sum()) < 32


def test_completion_gives_each_pixel_once() -> None:
    """Support and query are the pixels of one image, each once, at their own coordinates."""
    pool = images()
    sampler = Completion(pool)
    assert sampler.grid.shape == (30, 2)
    torch.testing.assert_close(sampler.grid[[0, 4, 25, 29]], torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]))
    for seed in range(5):
        support, query = sampler.draw(seeded(seed), 3)
        assert 1 <= support.x.shape[1] <= 15
        x, y = torch.cat((support.x, query.x), 1), torch.cat((support.y, query.y), 1)
        assert x.shape[1] == 30
        for t in range(3):
            row, column = ((x[t] + 1) / 2 * torch.tensor([5.0, 4.0])).round().long().unbind(1)
            assert len(set((5 * row + column).tolist())) == 30
            wanted = pool.get(torch.arange(10))[:, 0, row, column]
            assert int(((wanted - y[t, :, 0]).abs().amax(1) < 1e-6).sum()) == 1


def test_completion_of_colors_and_counts() -> None:
    """Targets have a column for each channel; a fixed number of queries is that number."""
    pool = Pool.of(torch.rand(4, 3, 8, 8), [0, 0, 1, 1])
    task = Completion(pool, shots=(2, 4), queries=7).draw(seeded(0), 5)
    assert task.query.y.shape == (5, 7, 3)
    assert 2 <= task.support.x.shape[1] <= 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GaussianProcess("cubic"), "'cubic' is unknown"),
        (lambda: GaussianProcess(shots=(5, 3)), "shots is (5, 3)"),
        (lambda: GaussianProcess(shots=-1), "shots is -1"),
        (lambda: GaussianProcess(queries=(4, 2)), "queries is (4, 2)"),
        (lambda: GaussianProcess(shots=47), "47 shots and 3 queries do not fit a total of 49"),
        (lambda: GaussianProcess(total=None), "do not fit a total of None"),
        (lambda: GaussianProcess(together=0), "together is 0; it must be at least 1"),
        (lambda: GaussianProcess(lengthscale=0.0), "lengthscale is 0.0; it must be above 0"),
        (lambda: GaussianProcess(scale=(0.5, 0.1)), "scale is (0.5, 0.1); give a number, or the smallest"),
        (lambda: GaussianProcess(noise=-0.1), "noise is -0.1; it must be at least 0"),
        (lambda: GaussianProcess(period=math.inf), "period is inf; it must be above 0 and finite"),
        (lambda: GaussianProcess(inputs=(2.0, -2.0)), "inputs is (2.0, -2.0); give"),
        (lambda: Sawtooth(terms=(0, 3)), "the smallest of terms is 0"),
        (lambda: Sawtooth(frequency=(0.0, 3.0)), "the smallest of frequency is 0.0"),
        (lambda: Completion(Pool.of(torch.zeros(2, 4), [0, 1])), "images [C, H, W]"),
        (lambda: Completion(images(), shots=31), "31 shots"),
        (lambda: Completion(images(), shots=20, queries=11), "up to 31 pixels, an image has 30"),
    ],
)
def test_bad_samplers_are_refused(make: object, words: str) -> None:
    """The message names the value and the limit."""
    with pytest.raises(il.InputError) as error:
        make()
    assert words in str(error.value)


def test_exports() -> None:
    """The families are names of ``il.data``."""
    for kind in (GaussianProcess, Sawtooth, Completion, TableTasks):
        assert getattr(il.data, kind.__name__) is kind


def test_points_outside_a_grid_are_refused() -> None:
    """By hand, at the first step of training and in evaluation; those at its end are seen."""
    line = il.ConvCNP(1, 1, lo=-1.0, hi=1.0, margin=0.5, points_per_unit=8, width=4, layers=1)
    image = il.learners.GridConvCNP(2, 1, size=(4, 4), width=4, layers=1)
    for learner, inputs, far in ((line, 1, 1.6), (image, 2, 1.1)):
        y, end = torch.zeros(3, 1), 1.5 if inputs == 1 else 1.0
        state = learner.adapt(il.Examples(torch.full((3, inputs), end), y))
        assert learner.predict(state, torch.full((3, inputs), -end)).isfinite().all()
        for x in (torch.full((3, inputs), far), torch.full((3, inputs), -far)):
            with pytest.raises(il.InputError, match=r"lie outside the grid from -1\.?5? to 1\.?5?.*lo="):
                learner.adapt(il.Examples(x, y))
            with pytest.raises(il.InputError, match="lie outside the grid"):
                learner.predict(state, x)
    wide = GaussianProcess("rbf", shots=30, queries=30, inputs=(-4.0, 4.0))
    with pytest.raises(il.InputError, match="lie outside the grid"):
        il.evaluate(line, wide, tasks=4)
    with pytest.raises(il.InputError, match="lie outside the grid"):
        il.fit(line, wide, steps=2, tasks_per_step=2, progress=False)
