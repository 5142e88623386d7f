"""Likelihoods: what a network's raw outputs mean.

A learner predicts raw tensors ``[S, N, P]``: ``S`` Monte-Carlo draws (1 if deterministic) of ``P`` numbers for each of
``N`` queries. The likelihood reads them. Raw tensors leave ``vmap``, distribution objects cannot.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.construction import Recorded
from innerloop.core.numbers import check_number
from innerloop.core.task import InputError


class Likelihood(Recorded, ABC):
    """p(y | raw), for one task."""

    #: Whether targets are one-hot rows, so that accuracy and calibration are defined.
    classifies: bool = False

    @property
    def spreads(self) -> bool:
        """Whether the spread of real targets is predicted, so that likelihood and coverage are what to judge by."""
        return False

    @abstractmethod
    def size(self, targets: int) -> int:
        """P, the raw numbers that a query needs, for ``targets`` columns D of y."""

    def check(self, outputs: int, targets: int) -> None:
        """Refuse raw predictions that do not fit the targets.

        Args:
            outputs: raw numbers that there are for each query.
            targets: columns D of y.

        Raises:
            InputError: naming both sizes and the remedy.
        """
        if outputs != (wanted := self.size(targets)):
            raise InputError(
                f"the learner gives {outputs} outputs a query, {type(self).__name__} needs {wanted} for {targets} "
                f"target columns: take tasks of the ways that it was built for, or build it with out={wanted}"
            )

    @abstractmethod
    def log_prob(self, raw: Tensor, y: Tensor) -> Tensor:
        """Log density (mass) of ``y [N, D]`` under each draw of ``raw [S, N, P]``: ``[S, N]``."""

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """E[y | raw], averaged over the draws: ``[S, N, P] -> [N, D]``. For one-hot targets the class probabilities."""

    def cdf(self, raw: Tensor, y: Tensor) -> Tensor:
        """P(Y <= y | raw) for each real target, averaged over the draws: ``[S, N, P], [N, D] -> [N, D]``."""
        raise InputError(f"{type(self).__name__} has no distribution function: its targets are classes")

    def nll(self, raw: Tensor, y: Tensor) -> Tensor:
        """Negative log likelihood, the draws mixed in probability space: ``[S, N, P], [N, D] -> [N]``.

        Raises:
            InputError: for another number of raw outputs than the targets need, which would broadcast.
        """
        self.check(raw.shape[-1], y.shape[-1])
        log_prob = self.log_prob(raw, y)
        # Of one draw there is nothing to mix: the same number by fewer kernels, which an inner loop notices.
        return -log_prob[0] if raw.shape[0] == 1 else math.log(raw.shape[0]) - log_prob.logsumexp(0)


class Categorical(Likelihood):
    """Classes: raw are logits, targets are one-hot rows (or soft ones).

    Args:
        smoothing: label smoothing in ``[0, 1)``, applied in training mode only.

    Example:
        >>> Categorical().nll(torch.zeros(1, 1, 2), torch.eye(2)[:1])
        tensor([0.6931])
    """

    classifies = True

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        check_number("label smoothing", smoothing, "[0, 1)")
        self.smoothing = smoothing

    def size(self, targets: int) -> int:  # noqa: D102
        return targets

    def log_prob(self, raw: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        if self.training and self.smoothing:
            y = y * (1 - self.smoothing) + self.smoothing / y.shape[-1]
        # A class without support has logit -inf; where y is 0 it must count 0 and not 0 * inf.
        log_p = raw.log_softmax(-1)
        return (y * log_p.masked_fill(y == 0, 0.0)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:  # noqa: D102
        return raw.softmax(-1).mean(0)

    def extra_repr(self) -> str:  # noqa: D102
        return f"smoothing={self.smoothing}"


class Gaussian(Likelihood):
    """Real targets, independent given the input.

    Args:
        scale: a fixed standard deviation, in the units of y: raw is the mean, ``P = D``, and the loss is squared error
            up to constants. ``None``: raw holds mean and pre-softplus deviation, ``P = 2 D``.
        floor: smallest deviation that a learned scale can take, in the units of y.

    Example:
        >>> Gaussian(scale=1.0).log_prob(torch.zeros(1, 1, 1), torch.zeros(1, 1))
        tensor([[-0.9189]])
    """

    def __init__(self, scale: float | None = None, floor: float = 1e-3) -> None:
        super().__init__()
        for name, value in (("scale", scale), ("floor", floor)):
            check_number(f"the Gaussian's {name}, a standard deviation,", value, "(0, inf)", optional=True)
        self.scale, self.floor = scale, floor

    @property
    def spreads(self) -> bool:  # noqa: D102
        return self.scale is None

    def size(self, targets: int) -> int:  # noqa: D102
        return targets if self.scale is not None else 2 * targets

    def parameters_of(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``[S, N, D]``."""
        if self.scale is not None:
            return raw, torch.full_like(raw, self.scale)
        mean, spread = raw.chunk(2, -1)
        return mean, self.floor + F.softplus(spread)

    def raw_of(self, mean: Tensor, scale: Tensor) -> Tensor:
        """The raw numbers of a learned scale, the inverse of :meth:`parameters_of`; scales lie above the floor."""
        above = scale - self.floor
        return torch.cat((mean, above + (-torch.expm1(-above)).log()), -1)

    def log_prob(self, raw: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        constant = 0.5 * math.log(2 * math.pi)
        if self.scale is not None:
            return (-0.5 / self.scale**2 * (y - raw) ** 2 - (math.log(self.scale) + constant)).sum(-1)
        mean, scale = self.parameters_of(raw)
        return (-0.5 * ((y - mean) / scale) ** 2 - scale.log() - constant).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:  # noqa: D102
        return self.parameters_of(raw)[0].mean(0)

    def cdf(self, raw: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        mean, scale = self.parameters_of(raw)
        return torch.special.ndtr((y - mean) / scale).mean(0)

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale}"


class Bars(Likelihood):
    """A binned density over one real target: raw are logits of bars between fixed borders.

    The density is constant within a bar. The two outer bars are half-normals that fall off outwards from their inner
    border, so every real target has a density and the whole integrates to 1.

    Args:
        borders: increasing, ``[P + 1]``, in the units of y. The widths of the outer bars set their half-normals: the
            outer border is where half of the bar's mass is passed.

    Example:
        >>> bars = Bars(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
        >>> bars.log_prob(torch.zeros(1, 1, 3), torch.tensor([[0.5]])).exp()
        tensor([[0.3333]])

    References:
        Müller et al., *Transformers Can Do Bayesian Inference*, ICLR 2022, https://arxiv.org/abs/2112.10510.
    """

    borders: Tensor

    def __init__(self, borders: Tensor) -> None:
        super().__init__()
        if borders.ndim != 1 or len(borders) < 4 or not bool((borders.diff() > 0).all()):
            raise InputError(
                f"bars need at least 4 increasing borders in one axis; got shape {tuple(borders.shape)}: "
                f"sort them and drop repeated values"
            )
        self.register_buffer("borders", borders)

    @property
    def spreads(self) -> bool:  # noqa: D102
        return True

    def size(self, targets: int) -> int:  # noqa: D102
        if targets != 1:
            raise InputError(
                f"bars model one target column, the task has {targets}: use Gaussian, or one model a column"
            )
        return len(self.borders) - 1

    def _alike(self, *tensors: Tensor) -> list[Tensor]:
        """The borders and other tensors in the widest of their types; half precision cannot tell borders apart."""
        dtype = reduce(torch.promote_types, (t.dtype for t in (self.borders, *tensors)), torch.float32)
        return [t.to(dtype) for t in (self.borders, *tensors)]

    def _tail(self, borders: Tensor) -> tuple[Tensor, Tensor]:
        """Scales of the left and right half-normals: their median is the outer border."""
        median = math.sqrt(2) * torch.erfinv(torch.tensor(0.5, dtype=torch.float64)).item()
        widths = borders.diff()
        return widths[0] / median, widths[-1] / median

    def log_prob(self, raw: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        borders, raw, y = self._alike(raw, y)
        inner, value = borders[1:-1].contiguous(), y[:, 0].contiguous()
        bar = torch.bucketize(value, inner)
        left, right = self._tail(borders)
        half_normal = 0.5 * math.log(2 / math.pi)
        flat = -borders.diff().log()[bar]
        below = half_normal - left.log() - 0.5 * ((inner[0] - value) / left) ** 2
        above = half_normal - right.log() - 0.5 * ((value - inner[-1]) / right) ** 2
        density = torch.where(bar == 0, below, torch.where(bar == len(inner), above, flat))
        mass = raw.log_softmax(-1).gather(-1, bar.expand(raw.shape[0], -1).unsqueeze(-1)).squeeze(-1)
        return mass + density

    def cdf(self, raw: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        borders, raw, y = self._alike(raw, y)
        mass, value = raw.softmax(-1), y[:, :1].contiguous()
        left, right = self._tail(borders)
        inside = ((value - borders[:-1]) / borders.diff()).clamp(0, 1)
        below = 2 * torch.special.ndtr((value - borders[1]) / left).clamp(max=0.5)
        above = 2 * torch.special.ndtr((value - borders[-2]) / right).clamp(min=0.5) - 1
        share = torch.cat((below, inside[:, 1:-1], above), 1)
        return (mass * share).sum(-1).mean(0).unsqueeze(-1)

    def quantile(self, raw: Tensor, share: float) -> Tensor:
        """Where the distribution function, averaged over the draws, reaches ``share``: ``[S, N, P] -> [N, 1]``."""
        borders, raw = self._alike(raw)
        masses = raw.softmax(-1).mean(0)
        reached = masses.cumsum(1)
        bar = (reached < share).sum(1, keepdim=True).clamp(max=masses.shape[1] - 1)
        mass = masses.gather(1, bar)
        within = ((share - (reached.gather(1, bar) - mass)) / mass.clamp(min=1e-30)).clamp(1e-12, 1 - 1e-12)
        left, right = self._tail(borders)
        flat = borders[bar] + within * borders.diff()[bar]
        below = borders[1] + left * torch.special.ndtri(within / 2)
        above = borders[-2] - right * torch.special.ndtri((1 - within) / 2)
        return torch.where(bar == 0, below, torch.where(bar == masses.shape[1] - 1, above, flat))

    def mean(self, raw: Tensor) -> Tensor:  # noqa: D102
        borders, raw = self._alike(raw)
        left, right = self._tail(borders)
        middles = (borders[1:] + borders[:-1]) / 2
        center = math.sqrt(2 / math.pi)
        outer = torch.stack((borders[1] - left * center, borders[-2] + right * center))
        middles = torch.cat((outer[:1], middles[1:-1], outer[1:]))
        return (raw.softmax(-1) @ middles).mean(0).unsqueeze(-1)


def default_likelihood(objective: str) -> Likelihood:
    """Of networks that predict means: classes by cross-entropy, real targets by squared error."""
    return Gaussian(scale=1.0) if objective == "regression" else Categorical()
