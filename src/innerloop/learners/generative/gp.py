"""Exact Gaussian-process regression (Rasmussen, Williams, MIT Press 2006, algorithm 2.1, http://gaussianprocess.org/gpml).

The posterior that a neural process approximates, in closed form: the best that any predictor can do on functions which
were drawn from the process. Nothing is trained. Choose it as the ceiling of a benchmark on Gaussian-process draws
(:func:`oracle` where each task's hyperparameters are known, :class:`MarginalGP` where only their range is), or for
small real tasks whose kernel is known. All matrices are float64, whatever the data are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from innerloop.core.learner import Learner
from innerloop.core.likelihood import Gaussian
from innerloop.core.numbers import check_count, ends
from innerloop.core.random import seeded
from innerloop.core.task import Examples, InputError, Task, join
from innerloop.data.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    Range,
    check_kernel,
    covariance,
    noise_variance,
)


class Posterior(NamedTuple):
    """A process given its support set, or ``[...]`` many of them."""

    x: Tensor
    """Support inputs, ``[..., N, F]``."""
    y: Tensor
    """Support targets, ``[..., N, D]``: D processes with one covariance."""
    hyperparameters: Hyperparameters
    """Each ``[...]``."""
    factor: Tensor
    """Cholesky factor of the targets' covariance, ``[..., N, N]``."""
    weights: Tensor
    """The inverse of that covariance times the targets, ``[..., N, D]``."""


def condition(kernel: str, hyperparameters: Hyperparameters, support: Examples) -> Posterior:
    """The process given a support set, ``x [..., N, F]`` and ``y [..., N, D]``."""
    x, y = support.x.double(), support.y.double()
    factor = _factor(covariance(kernel, hyperparameters, x, x), hyperparameters)
    weights = torch.cholesky_solve(y.expand(*factor.shape[:-1], -1), factor)
    return Posterior(support.x, support.y, hyperparameters, factor, weights)


def marginals(kernel: str, posterior: Posterior, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``[..., M, D]`` and standard deviation ``[..., M, 1]`` of an observation at each query, ``[..., M, F]``."""
    mean, root = _project(kernel, posterior, x)
    scale, noise = posterior.hyperparameters.scale, noise_variance(posterior.hyperparameters)
    left = (scale.unsqueeze(-1) ** 2 - root.square().sum(-2)).clamp(min=0)
    return mean, (left + noise.unsqueeze(-1)).sqrt().unsqueeze(-1)


def evidence(posterior: Posterior) -> Tensor:
    """Log marginal likelihood of the support targets, ``[...]``."""
    return _log_normal((posterior.y.double() * posterior.weights).sum(-2), posterior.factor)


def joint_log_prob(kernel: str, posterior: Posterior, query: Examples) -> Tensor:
    """Log density of all query targets together, ``[...]``."""
    x = query.x.double()
    mean, root = _project(kernel, posterior, x)
    left = covariance(kernel, posterior.hyperparameters, x, x) - root.mT @ root
    factor = _factor(left, posterior.hyperparameters)
    off = torch.linalg.solve_triangular(factor, query.y.double() - mean, upper=False)
    return _log_normal(off.square().sum(-2), factor)


def _factor(function: Tensor, hyperparameters: Hyperparameters) -> Tensor:
    """Cholesky factor of the covariance of observations, from that of the function."""
    eye = torch.eye(function.shape[-1], dtype=function.dtype, device=function.device)
    return torch.linalg.cholesky(function + noise_variance(hyperparameters)[..., None, None] * eye)


def _project(kernel: str, posterior: Posterior, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean at the queries, and a root of the part of their covariance that the support set explains."""
    cross = covariance(kernel, posterior.hyperparameters, posterior.x.double(), x.double())
    return cross.mT @ posterior.weights, torch.linalg.solve_triangular(posterior.factor, cross, upper=False)


def _log_normal(squares: Tensor, factor: Tensor) -> Tensor:
    """Sum of D log densities, from squared Mahalanobis lengths ``[..., D]`` and their covariance's factor."""
    n, d = factor.shape[-1], squares.shape[-1]
    volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * squares.sum(-1) - d * (volume + 0.5 * n * math.log(2 * math.pi))


class _Process(Learner):
    """A kernel, the ranges of its hyperparameters ``[G, 4]``, and raw predictions from moments."""

    objectives = ("regression",)
    hyperparameters: Tensor
    likelihood: Gaussian

    def __init__(self, kernel: str, points: int, **ranges: Range) -> None:
        check_kernel(kernel)
        known = {
            name: ends(name, value, "[0, inf)" if name == "noise" else "(0, inf)") for name, value in ranges.items()
        }
        # Sobol points, in the dimensions that differ and matter: unlike a grid they leave no direction coarse.
        unused = {"rbf": "period", "matern52": "period"}.get(kernel)
        drawn = [name for name, (low, high) in known.items() if low < high and name != unused]
        engine = torch.quasirandom.SobolEngine(max(1, len(drawn)), scramble=True, seed=0)
        u = dict(zip(drawn, engine.draw(points, dtype=torch.float64).T, strict=False))
        unit = [u.get(name, torch.zeros(points, dtype=torch.float64)) for name in known]
        values = torch.stack([low + (high - low) * at for at, (low, high) in zip(unit, known.values(), strict=True)], 1)
        smallest = noise_variance(Hyperparameters(*values.unbind(1))).min().sqrt()
        # The floor lies below every deviation that can occur, so that it changes none.
        super().__init__(Gaussian(scale=None, floor=0.1 * float(smallest)))
        self.kernel, self.ranges = kernel, known
        self.register_buffer("hyperparameters", values, persistent=False)

    def _examples(self, support: Examples, state: Posterior | None) -> Examples:
        x = support.x.flatten(1)
        if x.shape[1] != 1 and "periodic" in self.kernel:
            raise InputError(f"the kernel {self.kernel} takes 1 input column, x has {x.shape[1]}: use rbf or matern52")
        return join(Examples(state.x, state.y) if state else None, Examples(x, support.y))

    def _raw(self, mean: Tensor, deviation: Tensor, dtype: torch.dtype) -> Tensor:
        return self.likelihood.raw_of(mean, deviation.expand_as(mean)).to(dtype)

    def extra_repr(self) -> str:
        values = (f"{name}={low if low == high else (low, high)}" for name, (low, high) in self.ranges.items())
        return ", ".join([f"kernel={self.kernel!r}", *values])


class ExactGP(_Process):
    """The exact posterior of a Gaussian process whose hyperparameters are known. It has nothing to train.

    The state keeps the data: folding in more gives exactly what all of them at once would.

    Args:
        kernel: ``"rbf"``, ``"matern52"``, ``"periodic"`` or ``"weakly_periodic"``, as in
            :class:`~innerloop.data.GaussianProcess`.
        lengthscale: in the units of x.
        scale: standard deviation of the function, in the units of y.
        noise: standard deviation of the noise, in the units of y.
        period: in the units of x; only the periodic kernels have one.

    Raises:
        InputError: for an unknown kernel, a hyperparameter that is not positive, or a periodic kernel on more than one
            input column.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.ExactGP("rbf", lengthscale=0.5, scale=1.0, noise=0.1)
        >>> raw = learner.predict(learner.adapt(il.Examples(torch.zeros(1, 1), torch.ones(1, 1))), torch.zeros(1, 1))
        >>> [round(float(moment), 4) for moment in learner.likelihood.parameters_of(raw)]
        [0.9901, 0.1411]

    References:
        Rasmussen and Williams, *Gaussian Processes for Machine Learning*, MIT Press 2006, http://gaussianprocess.org/gpml.
    """

    def __init__(
        self, kernel: str = "rbf", *, lengthscale: float, scale: float, noise: float, period: float = 1.0
    ) -> None:
        super().__init__(kernel, 1, lengthscale=lengthscale, scale=scale, noise=noise, period=period)

    def adapt(self, support: Examples, state: Posterior | None = None) -> Posterior:  # noqa: D102
        known = Hyperparameters(*self.hyperparameters[0].double())
        return condition(self.kernel, known, self._examples(support, state))

    def predict(self, state: Posterior, x: Tensor) -> Tensor:  # noqa: D102
        return self._raw(*marginals(self.kernel, state, x.flatten(1)), x.dtype).unsqueeze(0)


class MarginalGP(_Process):
    """A Gaussian process with unknown hyperparameters: the posteriors of all, weighted by what the support says.

    Hyperparameters at quasi-random points of their uniform prior are weighted by the marginal likelihood of the support
    set. Systematic resampling, without chance, turns the weights into equally weighted draws; :meth:`log_likelihood`
    keeps the weights, which matters far from the mode. It is what a perfect neural process predicts that was trained on
    :class:`~innerloop.data.GaussianProcess` with the same ranges (that sampler's ``ranges``). A vectorized batch of T
    tasks needs ``8 T points N^2`` bytes a few times over: choose ``chunk`` accordingly.

    Args:
        kernel: as for :class:`ExactGP`.
        lengthscale: in the units of x: a value, or the lowest and the highest one.
        scale: standard deviation of the function, in the units of y, likewise.
        noise: standard deviation of the noise, in the units of y, likewise.
        period: in the units of x, likewise; a range of periods needs more ``points``: few of them fit a support set.
        points: hyperparameters that are weighted.
        draws: equally weighted ones that predictions keep.
        mixture: predict the mixture, ``draws`` Gaussians a query; ``False``: one Gaussian with its mean and deviation.

    Raises:
        InputError: as :class:`ExactGP`, and for fewer than 1 point or draw.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.MarginalGP("rbf", points=64, draws=8)
        >>> state = learner.adapt(il.Examples(torch.rand(5, 1), torch.rand(5, 1)))
        >>> learner.predict(state, torch.rand(7, 1)).shape
        torch.Size([8, 7, 2])

    References:
        Rasmussen and Williams, *Gaussian Processes for Machine Learning*, MIT Press 2006, chapter 5.
    """

    def __init__(
        self,
        kernel: str = "rbf",
        *,
        lengthscale: Range = (0.1, 0.6),
        scale: Range = (0.1, 1.0),
        noise: Range = 0.02,
        period: Range = (0.1, 0.5),
        points: int = 512,
        draws: int = 64,
        mixture: bool = True,
    ) -> None:
        check_count("points", points, 1)
        check_count("draws", draws, 1)
        super().__init__(kernel, points, lengthscale=lengthscale, scale=scale, noise=noise, period=period)
        self.draws, self.mixture = draws, mixture

    def _candidates(self, support: Examples, state: Posterior | None = None) -> Posterior:
        grid = Hyperparameters(*self.hyperparameters.double().unbind(1))
        return condition(self.kernel, grid, self._examples(support, state))

    def adapt(self, support: Examples, state: Posterior | None = None) -> Posterior:  # noqa: D102
        whole = self._candidates(support, state)
        cumulative = evidence(whole).softmax(0).cumsum(0)
        place = (torch.arange(self.draws, dtype=cumulative.dtype, device=cumulative.device) + 0.5) / self.draws
        chosen = (cumulative < place.unsqueeze(1)).sum(1).clamp(max=len(cumulative) - 1)
        kept = Hyperparameters(*(value[chosen] for value in whole.hyperparameters))
        return Posterior(whole.x, whole.y, kept, whole.factor[chosen], whole.weights[chosen])

    def predict(self, state: Posterior, x: Tensor) -> Tensor:  # noqa: D102
        mean, deviation = marginals(self.kernel, state, x.flatten(1))
        if not self.mixture:
            variance = (deviation**2).mean(0, keepdim=True) + mean.var(0, correction=0, keepdim=True)
            mean, deviation = mean.mean(0, keepdim=True), variance.sqrt()
        return self._raw(mean, deviation, x.dtype)

    def log_likelihood(self, task: Task) -> Tensor:
        """Log density of each query's target under the mixture of all ``points``, with their exact weights, ``[N]``."""
        whole = self._candidates(task.support)
        mean, deviation = marginals(self.kernel, whole, task.query.x.flatten(1))
        raw = self._raw(mean, deviation, torch.float64)
        log_prob = self.likelihood.log_prob(raw, task.query.y.double())
        return (evidence(whole).log_softmax(0).unsqueeze(1) + log_prob).logsumexp(0)


class Oracle(NamedTuple):
    """Log likelihood of each task's query targets per point, ``[T]``, by the process that the task was drawn from."""

    factorized: Tensor
    """Each point alone: what no predictor that judges queries one by one can beat on average."""
    joint: Tensor
    """All points of a task together: what no predictor at all can beat on average."""


def oracle(sampler: GaussianProcess, *, tasks: int = 1000, seed: int = 0) -> Oracle:
    """The exact posterior's log likelihood, with the hyperparameters that each task was drawn with.

    Args:
        sampler: draws the tasks.
        tasks: how many.
        seed: of the draw; the same tasks as those of :func:`innerloop.evaluate` with this seed.

    Example:
        >>> scores = oracle(il.data.GaussianProcess("rbf"), tasks=4)
        >>> scores.joint.shape, bool(scores.joint.mean() > scores.factorized.mean())
        (torch.Size([4]), True)
    """
    generator = seeded(seed)
    factorized, joint = [], []
    for start in range(0, tasks, sampler.together):
        (support, query), known = sampler.draw_with(generator, min(sampler.together, tasks - start))
        posterior = condition(sampler.kernel, known, support)
        mean, deviation = marginals(sampler.kernel, posterior, query.x)
        factorized.append(torch.distributions.Normal(mean, deviation).log_prob(query.y.double()).mean((1, 2)))
        joint.append(joint_log_prob(sampler.kernel, posterior, query) / query.y.shape[1])
    return Oracle(torch.cat(factorized), torch.cat(joint))
