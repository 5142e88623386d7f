"""Exact Gaussian processes, against scikit-learn's and against the published ceilings."""

from __future__ import annotations

import math
from functools import cache

import numpy
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, ExpSineSquared, Kernel, Matern
from torch import Generator
from torch.utils import _pytree as pytree

import innerloop as il
from innerloop.data import GaussianProcess
from innerloop.data.gaussian_process import JITTER, KERNELS, Hyperparameters
from innerloop.learners.generative import gp

KNOWN = {"lengthscale": 0.4, "scale": 1.3, "noise": 0.1, "period": 0.7}


def peer(kernel: str, lengthscale: float, scale: float, period: float) -> Kernel:
    """The kernel in scikit-learn's words."""
    shape = {
        "rbf": RBF(lengthscale),
        "matern52": Matern(lengthscale, nu=2.5),
        "periodic": ExpSineSquared(lengthscale, period),
        "weakly_periodic": RBF(lengthscale) * ExpSineSquared(1.0, period),
    }
    return ConstantKernel(scale**2) * shape[kernel]


def regressor(kernel: str, known: dict[str, float], task: il.Task) -> GaussianProcessRegressor:
    """scikit-learn's exact posterior."""
    noise = known["noise"] ** 2 + JITTER * known["scale"] ** 2
    shape = peer(kernel, known["lengthscale"], known["scale"], known["period"])
    model = GaussianProcessRegressor(shape, alpha=noise, optimizer=None)
    return model.fit(task.support.x.numpy(), task.support.y[:, 0].numpy())


def draw(kernel: str, shots: int = 12, queries: int = 9, **known: float) -> il.Task:
    """One task in float64."""
    sampler = GaussianProcess(kernel, shots=shots, queries=queries, **(known or KNOWN))
    tasks = sampler.draw(Generator().manual_seed(0), 1)
    return pytree.tree_map(lambda leaf: leaf[0].double(), tasks)


def moments(learner: il.Learner, task: il.Task) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Mean and standard deviation at the queries."""
    raw = learner.predict(learner.adapt(task.support), task.query.x)
    return tuple(value[0, :, 0].numpy() for value in learner.likelihood.parameters_of(raw))


@pytest.mark.parametrize("kernel", KERNELS)
def test_posterior_is_that_of_scikit_learn(kernel: str) -> None:
    """Mean, deviation and marginal likelihood."""
    task = draw(kernel)
    model = regressor(kernel, KNOWN, task)
    mean, deviation = model.predict(task.query.x.numpy(), return_std=True)
    noise = KNOWN["noise"] ** 2 + JITTER * KNOWN["scale"] ** 2
    learner = il.learners.ExactGP(kernel, **KNOWN)
    got = moments(learner, task)
    numpy.testing.assert_allclose(got[0], mean, rtol=1e-8, atol=1e-9)
    numpy.testing.assert_allclose(got[1], numpy.sqrt(deviation**2 + noise), rtol=1e-8)
    score = float(gp.evidence(learner.adapt(task.support)))
    assert score == pytest.approx(model.log_marginal_likelihood_value_, rel=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_joint_density_is_that_of_scikit_learn(kernel: str) -> None:
    """All queries together, by scipy from scikit-learn's posterior covariance; and by the chain rule."""
    task = draw(kernel)
    mean, spread = regressor(kernel, KNOWN, task).predict(task.query.x.numpy(), return_cov=True)
    noise = KNOWN["noise"] ** 2 + JITTER * KNOWN["scale"] ** 2
    normal = torch.distributions.MultivariateNormal(
        torch.from_numpy(mean), torch.from_numpy(spread) + noise * torch.eye(len(mean))
    )
    learner = il.learners.ExactGP(kernel, **KNOWN)
    posterior = learner.adapt(task.support)
    joint = float(gp.joint_log_prob(kernel, posterior, task.query))
    assert joint == pytest.approx(float(normal.log_prob(task.query.y[:, 0])), rel=1e-6)
    both = learner.adapt(task.query, posterior)
    assert joint == pytest.approx(float(gp.evidence(both) - gp.evidence(posterior)), rel=1e-7)


def test_several_inputs_and_targets() -> None:
    """Columns of y are processes of their own with one covariance; x may have more columns than one."""
    x, y, query = torch.randn(8, 2), torch.randn(8, 3), torch.randn(5, 2)
    learner = il.learners.ExactGP("matern52", lengthscale=1.0, scale=1.0, noise=0.1).double()
    whole = learner.predict(learner.adapt(il.Examples(x.double(), y.double())), query.double())
    assert whole.shape == (1, 5, 6)
    for column in range(3):
        part = il.Examples(x.double(), y[:, column : column + 1].double())
        got = learner.predict(learner.adapt(part), query.double())
        torch.testing.assert_close(got, whole[..., [column, column + 3]], rtol=1e-10, atol=1e-12)


def test_without_support_it_predicts_the_prior() -> None:
    """Mean 0, and the deviation of function and noise together."""
    learner = il.learners.ExactGP("rbf", **KNOWN)
    empty = il.Task(
        il.Examples(torch.zeros(0, 1), torch.zeros(0, 1)), il.Examples(torch.randn(4, 1), torch.zeros(4, 1))
    )
    mean, deviation = moments(learner, empty)
    numpy.testing.assert_allclose(mean, 0)
    numpy.testing.assert_allclose(deviation, math.sqrt(1.3**2 + 0.1**2), rtol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 1e-3, 50.0])
def test_raw_predictions_keep_every_deviation(noise: float) -> None:
    """The floor and the softplus of the likelihood lose no deviation, small or large."""
    learner = il.learners.ExactGP("rbf", lengthscale=0.5, scale=1.0, noise=noise)
    x = torch.linspace(-1, 1, 7).unsqueeze(1)
    state = learner.adapt(il.Examples(x, torch.sin(x)))
    where = torch.cat((x, torch.tensor([[9.0]])))
    _, wanted = gp.marginals("rbf", state, where)
    _, got = learner.likelihood.parameters_of(learner.predict(state, where))
    torch.testing.assert_close(got[0].double(), wanted, rtol=1e-4, atol=0)
    assert float(wanted[-1]) == pytest.approx(math.sqrt(1 + noise**2), rel=1e-6)


LEARNERS = {
    "exact": lambda: il.learners.ExactGP("matern52", lengthscale=0.3, scale=0.8, noise=0.05),
    "marginal": lambda: il.learners.MarginalGP("rbf", points=64, draws=8),
    "moments": lambda: il.learners.MarginalGP("periodic", points=64, draws=8, mixture=False),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_laws_of_a_learner_without_parameters(name: str) -> None:
    """Vmap = loop, an exact fold, no order of the support; nothing to train, nothing to save."""
    learner = LEARNERS[name]()
    tasks = GaussianProcess("rbf", shots=9, queries=5).draw(Generator().manual_seed(0), 6)
    tasks = pytree.tree_map(torch.Tensor.double, tasks)
    loop = il.lift(learner, "loop").predict(tasks)
    torch.testing.assert_close(il.lift(learner, "vmap").predict(tasks), loop, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(il.lift(learner, "vmap").loss(tasks), il.lift(learner, "loop").loss(tasks))
    (x, y), query = il.core.task.take(tasks, 0)
    folded = learner.adapt(il.Examples(x[3:], y[3:]), learner.adapt(il.Examples(x[:3], y[:3])))
    torch.testing.assert_close(learner.predict(folded, query.x), loop[0], rtol=1e-7, atol=1e-9)
    order = torch.randperm(9)
    shuffled = learner.predict(learner.adapt(il.Examples(x[order], y[order])), query.x)
    torch.testing.assert_close(shuffled, loop[0], rtol=1e-7, atol=1e-9)
    assert not learner.state_dict()
    assert loop.dtype == torch.float64
    assert il.evaluate(learner, GaussianProcess("rbf", together=3), tasks=6).tasks == 6


def test_float32_tasks_are_judged_in_float64() -> None:
    """Close points under little noise: a covariance that float32 cannot factorize."""
    learner = il.learners.ExactGP("rbf", lengthscale=0.6, scale=1.0, noise=0.0)
    sampler = GaussianProcess("rbf", lengthscale=0.6, scale=1.0, noise=0.0, shots=50, queries=50)
    tasks = sampler.draw(Generator().manual_seed(0), 4)
    raw = il.lift(learner, "vmap").predict(tasks)
    assert raw.dtype == torch.float32
    assert raw.isfinite().all()
    mean, _ = learner.likelihood.parameters_of(raw)
    assert float((mean[:, 0] - tasks.query.y).abs().mean()) < 1e-3


def test_marginal_is_exact_for_one_point() -> None:
    """Where the ranges are points, it is the process with known hyperparameters."""
    task = draw("rbf")
    wanted = moments(il.learners.ExactGP("rbf", **KNOWN), task)
    for mixture in (True, False):
        learner = il.learners.MarginalGP("rbf", **KNOWN, points=16, draws=3, mixture=mixture)
        got = moments(learner, task)
        numpy.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    log_prob = -il.learners.ExactGP("rbf", **KNOWN).loss(task)
    assert float(learner.log_likelihood(task).mean()) == pytest.approx(float(log_prob), rel=1e-9)


def test_marginal_weights_by_evidence() -> None:
    """The density of the mixture by hand: a loop over the points, each by scikit-learn."""
    task = draw("rbf", shots=4)
    learner = il.learners.MarginalGP("rbf", points=24)
    scores, densities = [], []
    for lengthscale, scale, noise, period in learner.hyperparameters.tolist():
        known = {"lengthscale": lengthscale, "scale": scale, "noise": noise, "period": period}
        model = regressor("rbf", known, task)
        mean, deviation = model.predict(task.query.x.numpy(), return_std=True)
        total = numpy.sqrt(deviation**2 + noise**2 + JITTER * scale**2)
        normal = torch.distributions.Normal(torch.from_numpy(mean), torch.from_numpy(total))
        scores.append(model.log_marginal_likelihood_value_)
        densities.append(normal.log_prob(task.query.y[:, 0]))
    wanted = torch.logsumexp(torch.tensor(scores).log_softmax(0).unsqueeze(1) + torch.stack(densities), 0)
    torch.testing.assert_close(learner.log_likelihood(task), wanted, rtol=1e-6, atol=1e-8)


def test_prior_points_fill_the_ranges() -> None:
    """Quasi-random points: means and extremes as a uniform prior has them, much closer than by chance."""
    learner = il.learners.MarginalGP("periodic", points=256)
    low = torch.tensor([0.1, 0.1, 0.02, 0.1], dtype=torch.float64)
    high = torch.tensor([0.6, 1.0, 0.02, 0.5], dtype=torch.float64)
    values = learner.hyperparameters
    assert (values >= low - 1e-12).all()
    assert (values <= high + 1e-12).all()
    torch.testing.assert_close(values.mean(0), (low + high) / 2, atol=5e-3, rtol=0)
    assert torch.equal(values, il.learners.MarginalGP("periodic", points=256).hyperparameters)


def test_resampled_draws_stand_for_the_weights() -> None:
    """Very many equally weighted draws give the exact mixture's density."""
    tasks = GaussianProcess("rbf", shots=8, queries=30).draw(Generator().manual_seed(3), 8)
    learner = il.learners.MarginalGP("rbf", points=128, draws=4000)
    for i in range(8):
        task = il.core.task.take(tasks, i)
        assert -float(learner.loss(task)) == pytest.approx(float(learner.log_likelihood(task).mean()), abs=0.01)


def test_one_gaussian_has_the_moments_of_the_mixture() -> None:
    """Mean and deviation of the draws that a mixture would have."""
    task = draw("rbf", shots=4)
    many, single = (il.learners.MarginalGP("rbf", points=64, draws=16, mixture=mixture) for mixture in (True, False))
    means, deviations = many.likelihood.parameters_of(many.predict(many.adapt(task.support), task.query.x))
    mean, deviation = moments(single, task)
    numpy.testing.assert_allclose(mean, means.mean(0)[:, 0], rtol=1e-9)
    numpy.testing.assert_allclose(deviation**2 + mean**2, (deviations**2 + means**2).mean(0)[:, 0], rtol=1e-9)


def test_oracle_is_the_known_process_on_the_evaluated_tasks() -> None:
    """Per task the score of ExactGP with that task's hyperparameters, on the tasks that ``evaluate`` draws."""
    sampler = GaussianProcess("matern52", together=4)
    scores = gp.oracle(sampler, tasks=10, seed=5)
    assert scores.joint.shape == scores.factorized.shape == (10,)
    batches = list(sampler.batches(Generator().manual_seed(5), 10))
    _, known = sampler.draw_with(Generator().manual_seed(5), 4)
    for i in range(4):
        learner = il.learners.ExactGP("matern52", **{name: float(value[i]) for name, value in known._asdict().items()})
        task = pytree.tree_map(torch.Tensor.double, il.core.task.take(batches[0], i))
        assert float(scores.factorized[i]) == pytest.approx(-float(learner.loss(task)), rel=1e-6)
        joint = gp.joint_log_prob("matern52", learner.adapt(task.support), task.query) / len(task.query.x)
        assert float(scores.joint[i]) == pytest.approx(float(joint), rel=1e-6)


@cache
def ceilings(kernel: str) -> dict[str, tuple[float, float]]:
    """The benchmark's oracle averaged over the 44 support sizes, each as often, and its 95 % half width."""
    draws: dict[str, list[numpy.ndarray]] = {"factorized": [], "joint": []}
    for shots in range(3, 47):
        scores = gp.oracle(GaussianProcess(kernel, shots=shots), tasks=48, seed=shots)
        # The tasks of a draw share their number of queries: the draw is the unit.
        for name, values in scores._asdict().items():
            draws[name].append(values.numpy().reshape(-1, 16).mean(1))
    found = {}
    for name, values in draws.items():
        each = numpy.stack(values)
        width = 1.96 * math.sqrt((each.var(1, ddof=1) / each.shape[1]).sum()) / len(each)
        found[name] = float(each.mean()), width
    return found


@pytest.mark.parametrize(
    ("kernel", "score", "published", "error"),
    [
        ("rbf", "factorized", 1.507, 0.017),
        ("rbf", "joint", 1.803, 0.010),
        ("matern52", "factorized", 1.101, 0.015),
        ("matern52", "joint", 1.382, 0.010),
        ("periodic", "factorized", 1.175, 0.018),
        ("periodic", "joint", 1.488, 0.011),
    ],
)
def test_ceilings_of_the_benchmark(kernel: str, score: str, published: float, error: float) -> None:
    """The oracle's log likelihood per point is the known one: no neural process may pass it."""
    got, width = ceilings(kernel)[score]
    assert width < 0.05
    assert abs(got - published) < 1.5 * (width + error)


def test_unknown_hyperparameters_cost_what_they_cost() -> None:
    """Below the oracle on the same tasks: about 0.06 for the best mixture, 0.075 for the best single Gaussian."""
    sampler, tasks = GaussianProcess("rbf"), 64
    known = gp.oracle(sampler, tasks=tasks, seed=1).factorized
    losses = {}
    for mixture in (True, False):
        learner = il.learners.MarginalGP("rbf", points=256, draws=32, mixture=mixture)
        batches = sampler.batches(Generator().manual_seed(1), tasks)
        losses[mixture] = torch.cat([il.lift(learner, "vmap").loss(batch) for batch in batches])
    gap = {mixture: float((known + loss).mean()) for mixture, loss in losses.items()}
    assert 0.01 < gap[True] < gap[False] < 0.2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: il.learners.ExactGP("cubic", **KNOWN), "'cubic' is unknown"),
        (lambda: il.learners.ExactGP("rbf", **{**KNOWN, "scale": 0.0}), "scale is 0.0; it must be above 0"),
        (lambda: il.learners.MarginalGP("rbf", points=0), "points is 0"),
        (lambda: il.learners.MarginalGP("rbf", draws=0), "draws is 0"),
        (lambda: il.learners.MarginalGP("rbf", lengthscale=(0.3, 0.1)), "lengthscale is (0.3, 0.1)"),
        (
            lambda: il.learners.ExactGP("periodic", **KNOWN).adapt(il.Examples(torch.zeros(2, 3), torch.zeros(2, 1))),
            "takes 1 input column, x has 3",
        ),
    ],
)
def test_bad_processes_are_refused(make: object, words: str) -> None:
    """The message names the value and the limit."""
    with pytest.raises(il.InputError) as error:
        make()
    assert words in str(error.value)


def test_posterior_of_many_processes_is_that_of_each() -> None:
    """The functions behind the learners take any leading shape."""
    tasks, known = GaussianProcess("weakly_periodic", shots=6, queries=4).draw_with(Generator().manual_seed(0), 3)
    whole = gp.marginals("weakly_periodic", gp.condition("weakly_periodic", known, tasks.support), tasks.query.x)
    for t in range(3):
        task, one = il.core.task.take(tasks, t), Hyperparameters(*(value[t] for value in known))
        part = gp.marginals("weakly_periodic", gp.condition("weakly_periodic", one, task.support), task.query.x)
        for got, wanted in zip(part, whole, strict=True):
            torch.testing.assert_close(got, wanted[t])
