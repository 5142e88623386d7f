"""From the losses of several tasks to one outer gradient: gradient aggregation, and loss weightings.

The default is the mean. Aggregators look at the Jacobian, each task's own gradient, and choose a direction that does
not trade one task for another; TorchJD (https://torchjd.org) computes them. Weightings only scale the losses; they know
their tasks, which have to be the same ones in the same order at every step.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from innerloop.core.lifting import Lifted
from innerloop.core.likelihood import Gaussian, Likelihood
from innerloop.core.task import InputError, Task, count
from innerloop.data.episodes import Sampler
from innerloop.data.known import KnownTasks
from innerloop.training import ranks

#: From the Jacobian, the gradient of each task ``[T, n]``, to the gradient that is followed, ``[n]``.
Aggregator = Callable[[Tensor], Tensor]


class _Method(NamedTuple):
    name: str
    """Its class in ``torchjd.aggregation``."""
    options: Callable[[int], dict[str, Any]] = lambda tasks: {}
    sums: bool = False
    """It adds the tasks up: divided by their number here, so that without conflicts it is the mean."""
    degree: int = 1
    """To which power of a common factor of the gradients its result grows."""


_METHODS = {
    "upgrad": _Method("UPGrad"),
    "mgda": _Method("MGDA"),
    "pcgrad": _Method("PCGrad", sums=True),
    "cagrad": _Method("CAGrad", lambda tasks: {"c": 0.5}),
    # A bargain does not ask in which unit a task counts its gain, and the step is then clipped to length 1.
    "nashmtl": _Method("NashMTL", lambda tasks: {"n_tasks": tasks}, degree=0),
}
AGGREGATORS = ("mean", *_METHODS)
WEIGHTINGS = ("uncertainty", "dwa")


def make_aggregator(name: str | Aggregator, tasks: int) -> Aggregator | None:
    """The aggregator of a name, for ``tasks`` tasks a step; ``None`` is the mean.

    Args:
        name: ``"mean"``; ``"upgrad"`` (Quinton, Rey, 2024, https://arxiv.org/abs/2406.16232); ``"mgda"`` (Désidéri,
            2012; Sener, Koltun, NeurIPS 2018, https://arxiv.org/abs/1810.04650); ``"pcgrad"`` (Yu et al., NeurIPS 2020,
            https://arxiv.org/abs/2001.06782), divided by the number of tasks; ``"cagrad"`` (Liu et al., NeurIPS 2021,
            https://arxiv.org/abs/2110.14048) with c = 0.5; ``"nashmtl"`` (Navon et al., ICML 2022,
            https://arxiv.org/abs/2202.01017), solved afresh at each step, of length 1 at most whatever the gradients'
            length; or a function of the Jacobian.
        tasks: T.

    Returns:
        a function of the Jacobian. By a name it gives 0 where all gradients are 0, and a single task's own gradient;
        the others grow with the gradients, however small these are.

    Raises:
        InputError: for an unknown name, or if TorchJD is not installed.

    Example:
        >>> make_aggregator("mean", 4) is None
        True
    """
    if not isinstance(name, str):
        return name
    if name not in AGGREGATORS:
        raise InputError(f"aggregate={name!r} is unknown; choose one of {', '.join(AGGREGATORS)}, or pass a function")
    if name == "mean":
        return None
    method = _METHODS[name]
    try:
        from torchjd import aggregation

        made = getattr(aggregation, method.name)(**method.options(tasks))
    except ImportError as error:
        raise InputError(
            f"aggregate={name!r} needs TorchJD ({error}): install it with pip install 'innerloop[multitask]'"
        ) from None

    def combine(jacobian: Tensor) -> Tensor:
        largest = jacobian.abs().max()
        if len(jacobian) == 1 or largest == 0:
            return jacobian[0].clone()
        # The solvers' tolerances are absolute, so small gradients would pass for none at all. By a power of two nothing
        # is rounded.
        scale = 2.0 ** (torch.frexp(largest).exponent - 1).to(jacobian)
        if hasattr(made, "reset"):
            # What it remembers of earlier steps is not in a checkpoint: a resumed run would differ.
            made.reset()
        with warnings.catch_warnings():
            # The solver's advice on how TorchJD states its problem, and divisions by a gradient of 0.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            found = made(jacobian / scale) * scale**method.degree
        return found / len(jacobian) if method.sums else found

    return combine


def backward_aggregated(lifted: Lifted, tasks: Task, combine: Aggregator, total: int | None = None) -> Tensor:
    """Put the aggregated gradient of the tasks into the parameters' ``.grad``; the losses ``[T]``, detached.

    The Jacobian takes T backward passes and the memory of T gradients, whatever the chunks. Over ranks, each of which
    has its slice of ``total`` tasks, every one gets the whole Jacobian.
    """
    total = total if total is not None else count(tasks)
    losses = lifted.loss(tasks)
    parameters = [p for p in lifted.learner.parameters() if p.requires_grad]
    rows = []
    for loss in losses:
        slopes = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    jacobian = ranks.gather(torch.stack(rows), total)
    # A solver would fail with a message of its own: the mean carries what is not finite to where fit looks for it.
    vector = combine(jacobian) if jacobian.isfinite().all() else jacobian.mean(0)
    for parameter, part in zip(parameters, vector.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).clone()
    return ranks.gather(losses.detach(), total)


class Weighting(nn.Module, ABC):
    """From the losses of the known tasks to the scalar that is minimized.

    Args:
        tasks: T.
        least: the loss of a perfect prediction; it is taken off, so that half a squared error is weighted.
    """

    def __init__(self, tasks: int, least: float = 0.0) -> None:
        super().__init__()
        self.tasks, self.least = tasks, least

    @abstractmethod
    def forward(self, losses: Tensor) -> Tensor:
        """``[T] -> []``."""


class Uncertainty(Weighting):
    """A learned noise for each task: ``mean(exp(-s) L + s / 2)`` with s the log variance, 0 at the start.

    It is the negative log likelihood of real targets (L half the squared error) or of classes (L the cross-entropy)
    whose noise (or temperature) is the task's own, up to constants and with the paper's approximation for classes.

    References:
        Kendall, Gal, Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses*, CVPR 2018,
        https://arxiv.org/abs/1705.07115.
    """

    def __init__(self, tasks: int, least: float = 0.0) -> None:
        super().__init__(tasks, least)
        self.log_variance = nn.Parameter(torch.zeros(tasks))

    def forward(self, losses: Tensor) -> Tensor:  # noqa: D102
        s = self.log_variance.to(losses.dtype)
        return ((-s).exp() * (losses - self.least) + s / 2).mean()


class DynamicAverage(Weighting):
    """Dynamic weight average: tasks whose losses fall more slowly weigh more.

    The weights are ``T softmax(r / temperature)``, r the ratio of a task's mean losses in the last two windows of
    steps; 1 for all until there are two.

    Args:
        tasks: T.
        least: the loss of a perfect prediction; it is taken off before ratios are taken.
        temperature: larger is more even; the paper's is 2.
        window: steps of a window, an epoch in the paper.

    References:
        Liu, Johns, Davison, *End-to-End Multi-Task Learning with Attention*, CVPR 2019,
        https://arxiv.org/abs/1803.10704.
    """

    # Buffers, so that a checkpoint has them.
    seen: Tensor
    means: Tensor
    total: Tensor

    def __init__(self, tasks: int, least: float = 0.0, temperature: float = 2.0, window: int = 100) -> None:
        super().__init__(tasks, least)
        self.temperature, self.window = temperature, window
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("means", torch.ones(2, tasks, dtype=torch.float64))
        self.register_buffer("total", torch.zeros(tasks, dtype=torch.float64))

    def forward(self, losses: Tensor) -> Tensor:  # noqa: D102
        before, last = self.means
        rates = last / before.clamp(min=1e-12) if self.seen >= 2 * self.window else torch.ones_like(last)
        weights = self.tasks * (rates / self.temperature).softmax(0)
        self.total += losses.detach() - self.least
        self.seen += 1
        if self.seen % self.window == 0:
            self.means = torch.stack((last, self.total / self.window))
            self.total = torch.zeros_like(self.total)
        return (weights.to(losses.dtype) * losses).mean()


def make_weighting(name: str | None, sampler: Sampler, tasks: int, likelihood: Likelihood) -> Weighting | None:
    """The weighting of a name, for the tasks of a sampler; ``None`` for none.

    Raises:
        InputError: for an unknown name, tasks that are not the same ones at each step, or losses without a lower bound.
    """
    if name is None:
        return None
    if name not in WEIGHTINGS:
        raise InputError(f"weighting={name!r} is unknown; choose one of {', '.join(WEIGHTINGS)}")
    if not isinstance(sampler, KnownTasks) or tasks != sampler.tasks:
        known = f"{sampler.tasks} known tasks" if isinstance(sampler, KnownTasks) else type(sampler).__name__
        raise InputError(
            f"weighting={name!r} needs the same tasks at each step, not {tasks} a step of {known}: train on "
            f"data.KnownTasks with tasks_per_step equal to their number"
        )
    if likelihood.spreads:
        raise InputError(
            f"weighting={name!r} wants losses of at least 0, and a likelihood with a learned spread weighs its errors "
            f"itself: use Gaussian(scale=1.0), or leave weighting out"
        )
    least = 0.0
    if isinstance(likelihood, Gaussian) and likelihood.scale is not None:
        least = sampler.targets * (math.log(likelihood.scale) + 0.5 * math.log(2 * math.pi))
    return (Uncertainty if name == "uncertainty" else DynamicAverage)(tasks, least)


def backward_weighted(lifted: Lifted, tasks: Task, weights: Weighting, total: int | None = None) -> Tensor:
    """Add the gradient of the weighted losses to the parameters' ``.grad``; the losses ``[T]``, detached.

    Over ranks, each of which has its slice of ``total`` tasks, every one weights all the losses.
    """
    lifted.settle(tasks)
    with ranks.statistics(lifted.learner):
        losses = ranks.gather(lifted.loss(tasks), total if total is not None else count(tasks))
    weights(losses).backward()
    ranks.add_gradients(lifted.learner)
    return losses.detach()
