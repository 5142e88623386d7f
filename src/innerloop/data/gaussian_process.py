"""Draws from Gaussian processes, and sawtooth waves: the families of functions that neural processes are tested on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.numbers import ends
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.sizes import OpenSize, Size, Sized

#: A fixed value, or the lowest and the highest one that a uniform draw lies between.
Range = float | tuple[float, float]

#: Variance, as a share of the function's, added to each covariance matrix so that it can be factorized without noise.
JITTER = 1e-9


class Hyperparameters(NamedTuple):
    """Of one Gaussian process each (``[T]``), or of a single one (``[]``); a kernel reads those that it has."""

    lengthscale: Tensor
    """In the units of x (for the periodic kernel: of the sine of the distance, without a unit)."""
    scale: Tensor
    """Standard deviation of the function, in the units of y."""
    noise: Tensor
    """Standard deviation of the noise, in the units of y."""
    period: Tensor
    """In the units of x."""


def _rbf(d: Tensor, lengthscale: Tensor, period: Tensor) -> Tensor:
    return torch.exp(-0.5 * (d / lengthscale) ** 2)


def _matern52(d: Tensor, lengthscale: Tensor, period: Tensor) -> Tensor:
    r = math.sqrt(5) * d / lengthscale
    return (1 + r + r**2 / 3) * torch.exp(-r)


def _periodic(d: Tensor, lengthscale: Tensor, period: Tensor) -> Tensor:
    return torch.exp(-2 * (torch.sin(math.pi * d / period) / lengthscale) ** 2)


def _weakly_periodic(d: Tensor, lengthscale: Tensor, period: Tensor) -> Tensor:
    return _rbf(d, lengthscale, period) * _periodic(d, torch.ones_like(lengthscale), period)


#: Correlation as a function of distance, lengthscale and period.
KERNELS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "rbf": _rbf,
    "matern52": _matern52,
    "periodic": _periodic,
    "weakly_periodic": _weakly_periodic,
}


def check_kernel(kernel: str) -> None:
    """Refuse an unknown kernel.

    Raises:
        InputError: with the known names.
    """
    if kernel not in KERNELS:
        raise InputError(f"kernel {kernel!r} is unknown; choose one of {', '.join(KERNELS)}")


def covariance(kernel: str, hyperparameters: Hyperparameters, a: Tensor, b: Tensor) -> Tensor:
    """Covariance of the noiseless function between two sets of inputs.

    Args:
        kernel: one of ``KERNELS``.
        hyperparameters: each ``[...]``.
        a: inputs, ``[..., N, F]``.
        b: inputs, ``[..., M, F]``.

    Returns:
        ``[..., N, M]``, in the squared units of y.

    Example:
        >>> one = torch.ones(())
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> covariance("rbf", Hyperparameters(one, one, one, one), x, x)
        tensor([[1.0000, 0.6065],
                [0.6065, 1.0000]])
    """
    lengthscale, scale, _, period = (value[..., None, None] for value in hyperparameters)
    distance = torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), dim=-1)
    return scale**2 * KERNELS[kernel](distance, lengthscale, period)


def noise_variance(hyperparameters: Hyperparameters) -> Tensor:
    """Variance of an observation about the function, ``[...]``: noise, and the jitter that stands in for it."""
    return hyperparameters.noise**2 + JITTER * hyperparameters.scale**2


class GaussianProcess(Sized):
    """Functions of one input drawn from a Gaussian process whose hyperparameters are drawn for each task.

    The defaults are the protocol of the transformer neural process. All tasks of one draw share the numbers of support
    and query points; :meth:`batches` gives draws of ``together`` tasks with numbers of their own, as evaluation needs.

    Args:
        kernel: ``"rbf"`` (exponentiated quadratic, EQ), ``"matern52"``, ``"periodic"``
            (``exp(-2 sin(pi d / period)^2 / lengthscale^2)``) or ``"weakly_periodic"`` (the product of the EQ with this
            lengthscale and the periodic one with lengthscale 1).
        shots: support points a task: a number, or the smallest and the largest one (inclusive).
        queries: query points a task; an upper limit of ``None`` is what ``total`` leaves after the support set.
        total: most points of a task, where ``queries`` has no upper limit of its own.
        lengthscale: in the units of x: a value, or the lowest and the highest one.
        scale: standard deviation of the function, in the units of y.
        noise: standard deviation of the noise, in the units of y; 0 for none.
        period: in the units of x; only the periodic kernels have one.
        inputs: the lowest and the highest x.
        together: tasks of one draw of :meth:`batches`.

    Raises:
        InputError: for an unknown kernel, an empty or negative range, or sizes that cannot be.

    Example:
        >>> sampler = GaussianProcess("matern52", shots=(3, 50), queries=10, lengthscale=0.25, scale=1.0, noise=0.0)
        >>> sampler.draw(torch.Generator().manual_seed(0), 4).query.y.shape
        torch.Size([4, 10, 1])

    References:
        Defaults: Nguyen and Grover, *Transformer Neural Processes*, ICML 2022, https://arxiv.org/abs/2207.04179, and
        its code, https://github.com/tung-nd/TNP-pytorch. Fixed hyperparameters: Gordon et al., *Convolutional
        Conditional Neural Processes*, ICLR 2020, https://arxiv.org/abs/1910.13556, whose code
        (https://github.com/cambridge-mlg/convcnp) has lengthscale 0.25 (for weakly periodic functions 0.5, and period
        0.25), scale 1, no noise, and 3 to 50 support and query points each.
    """

    classifies = False

    def __init__(
        self,
        kernel: str = "rbf",
        *,
        shots: Size = (3, 46),
        queries: OpenSize = (3, None),
        total: int | None = 49,
        lengthscale: Range = (0.1, 0.6),
        scale: Range = (0.1, 1.0),
        noise: Range = 0.02,
        period: Range = (0.1, 0.5),
        inputs: tuple[float, float] = (-2.0, 2.0),
        together: int = 16,
    ) -> None:
        super().__init__(shots, queries, total, together)
        check_kernel(kernel)
        self.kernel = kernel
        #: The lowest and the highest value of each hyperparameter.
        self.ranges = {
            "lengthscale": ends("lengthscale", lengthscale, "(0, inf)"),
            "scale": ends("scale", scale, "(0, inf)"),
            "noise": ends("noise", noise, "[0, inf)"),
            "period": ends("period", period, "(0, inf)"),
        }
        self.inputs = ends("inputs", inputs, "(-inf, inf)")

    def hyperparameters(self, u: Tensor) -> Hyperparameters:
        """Hyperparameters from uniform numbers in 0 to 1: ``[..., 4] -> [...]`` each."""
        return Hyperparameters(*(_between(limit, u[..., i]) for i, limit in enumerate(self.ranges.values())))

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts("functions", (1,), 1, "regression")

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        return self.draw_with(generator, tasks)[0]

    def draw_with(self, generator: Generator, tasks: int) -> tuple[Task, Hyperparameters]:
        """The tasks of :meth:`draw`, and the hyperparameters of each one's process, float64 ``[T]``."""
        shots, queries = self.sizes(generator)
        points = shots + queries
        u = _uniform(generator, tasks, 4 + 2 * points)
        known, place, luck = u.split((4, points, points), 1)
        hyperparameters = self.hyperparameters(known)
        # Rounded before y is drawn, so that y belongs to the x that is handed out.
        x = _between(self.inputs, place).to(torch.get_default_dtype()).double().unsqueeze(2)
        # In float64: the covariance of close points is singular in float32.
        noise = torch.diag_embed(noise_variance(hyperparameters).unsqueeze(1).expand(-1, points))
        factor = torch.linalg.cholesky(covariance(self.kernel, hyperparameters, x, x) + noise)
        y = factor @ torch.special.ndtri(luck.clamp(1e-15, 1 - 1e-15)).unsqueeze(2)
        return _split(x, y, shots), hyperparameters


class Sawtooth(Sized):
    """Sawtooth waves as Fourier series that are cut off: ``1/2 - 1/pi sum_k (-1)^k sin(2 pi k f (x + s)) / k``.

    Frequency, shift and number of terms are drawn for each task, the numbers of points for each draw.

    Args:
        shots: support points a task: a number, or the smallest and the largest one (inclusive).
        queries: query points a task, likewise.
        frequency: lowest and highest number of teeth per unit of x.
        shift: lowest and highest shift, in the units of x.
        terms: smallest and largest number of terms (inclusive).
        inputs: the lowest and the highest x.
        together: tasks of one draw of :meth:`batches`.

    Raises:
        InputError: for an empty range, or sizes that cannot be.

    Example:
        >>> Sawtooth(shots=20, queries=30).draw(torch.Generator().manual_seed(0), 4).support.y.shape
        torch.Size([4, 20, 1])

    References:
        Gordon et al., *Convolutional Conditional Neural Processes*, ICLR 2020, https://arxiv.org/abs/1910.13556; the
        defaults are those of its code, https://github.com/cambridge-mlg/convcnp.
    """

    classifies = False

    def __init__(
        self,
        *,
        shots: Size = (3, 100),
        queries: Size = (3, 100),
        frequency: Range = (3.0, 5.0),
        shift: tuple[float, float] = (-5.0, 5.0),
        terms: Size = (10, 20),
        inputs: tuple[float, float] = (-2.0, 2.0),
        together: int = 16,
    ) -> None:
        super().__init__(shots, queries, None, together)
        self.frequency = ends("frequency", frequency, "(0, inf)")
        self.shift, self.inputs = ends("shift", shift, "(-inf, inf)"), ends("inputs", inputs, "(-inf, inf)")
        self.terms = ends("terms", terms, 1)

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts("functions", (1,), 1, "regression")

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        shots, queries = self.sizes(generator)
        known, place = _uniform(generator, tasks, 3 + shots + queries).split((3, shots + queries), 1)
        frequency, shift = _between(self.frequency, known[:, :1]), _between(self.shift, known[:, 1:2])
        low, high = self.terms
        terms = low + (known[:, 2:] * (high - low + 1)).long()
        k = torch.arange(1, high + 1, device=known.device, dtype=known.dtype)
        weight = torch.where(k <= terms, (1 - 2 * (k % 2)) / k, 0.0)
        x = _between(self.inputs, place)
        phase = 2 * math.pi * frequency * (x + shift)
        y = 0.5 - (torch.sin(phase.unsqueeze(2) * k) @ weight.unsqueeze(2)) / math.pi
        return _split(x.unsqueeze(2), y, shots)


def _uniform(generator: Generator, tasks: int, row: int) -> Tensor:
    return torch.rand(tasks, row, generator=generator, device=generator.device, dtype=torch.float64)


def _between(limit: tuple[float, float], u: Tensor) -> Tensor:
    return limit[0] + (limit[1] - limit[0]) * u


def _split(x: Tensor, y: Tensor, shots: int) -> Task:
    x, y = x.to(torch.get_default_dtype()), y.to(torch.get_default_dtype())
    return Task(Examples(x[:, :shots], y[:, :shots]), Examples(x[:, shots:], y[:, shots:]))
