"""Metrics: what predictions on tasks are judged by. A metric has one value a task, never a mean over tasks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import torch
from torch import Tensor

from innerloop.core.likelihood import Likelihood
from innerloop.core.task import InputError

#: The logarithm of the probability below which none is counted, the smallest positive number in double precision. A
#: class that the learner calls impossible, such as one without support, so costs 744.4 nats and not infinitely many.
LOG_FLOOR = math.log(math.ulp(0.0))


class Predictions:
    """What a learner answers to the queries of a batch of tasks, beside the truth.

    Args:
        likelihood: what the raw predictions mean.
        raw: ``[T, S, Q, P]``.
        y: targets, ``[T, Q, D]``.

    Example:
        >>> import innerloop as il
        >>> Predictions(il.Categorical(), torch.zeros(1, 1, 2, 2), torch.eye(2).unsqueeze(0)).mean
        tensor([[[0.5000, 0.5000],
                 [0.5000, 0.5000]]])
    """

    def __init__(self, likelihood: Likelihood, raw: Tensor, y: Tensor) -> None:
        self.likelihood, self.raw, self.y = likelihood, raw, y

    @cached_property
    def mean(self) -> Tensor:
        """The class probabilities, or the predictive means: ``[T, Q, D]``."""
        return torch.func.vmap(self.likelihood.mean)(self.raw)

    @cached_property
    def nll(self) -> Tensor:
        """Negative log likelihood of each query, in nats: ``[T, Q]``; of classes at most 744.4 (``LOG_FLOOR``)."""
        nll = torch.func.vmap(self.likelihood.nll)(self.raw, self.y)
        return nll.clamp(max=-LOG_FLOOR) if self.likelihood.classifies else nll

    @cached_property
    def answered(self) -> Tensor:
        """Whether a query's prediction is finite, bool ``[T, Q]``."""
        return self.mean.isfinite().all(-1) & ~self.nll.isnan()

    @property
    def failed(self) -> Tensor:
        """Tasks with a query whose prediction is not finite, bool ``[T]``."""
        return ~self.answered.all(-1)

    @cached_property
    def log_odds(self) -> Tensor:
        """Of the second of two classes against the first, ``[T, Q]``; where there is no answer, the worst one.

        From likelihoods, since probabilities near 1 round to ties, which have no ranking.
        """
        nll, y = torch.func.vmap(self.likelihood.nll), self.y
        first, second = (torch.eye(2, dtype=y.dtype, device=y.device)[k].expand_as(y) for k in (0, 1))
        odds = nll(self.raw, first) - nll(self.raw, second)
        # Finite, since to rank infinities among masked ones is to lose them.
        most = torch.finfo(odds.dtype).max
        worst = torch.where(y[..., 1] > y[..., 0], -most, most).to(odds)
        return torch.where(odds.isnan(), worst, odds.clamp(-most, most))


@dataclass(frozen=True)
class Metric:
    """What predictions on tasks are judged by, and how that reads.

    Args:
        name: its key in reports.
        score: its value on each task of a batch, ``[T]``, from :class:`Predictions`.
        better: whether ``"higher"`` or ``"lower"`` values are.
        title: what it is called in a sentence; default the name.
        bounds: between which every value lies, if it does: a share has 0 and 1.
        scale: what a value is multiplied by to be shown.
        unit: of what is shown.
        digits: after the point, of what is shown.

    Raises:
        InputError: for another direction, an empty name, or bounds that are none.

    Example:
        >>> ACCURACY.text(0.9786, (0.9765, 0.9807))
        '97.86 ± 0.21 %'
        >>> MSE.sign
        -1
    """

    name: str
    score: Callable[[Predictions], Tensor]
    better: Literal["higher", "lower"] = "higher"
    title: str = ""
    bounds: tuple[float, float] | None = None
    scale: float = 1.0
    unit: str = ""
    digits: int = 4

    def __post_init__(self) -> None:
        """Check the values."""
        if self.better not in ("higher", "lower"):
            raise InputError(f"metric {self.name!r}: better is {self.better!r}; choose 'higher' or 'lower'")
        if not self.name:
            raise InputError("a metric needs a name: it is its key in reports")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise InputError(f"metric {self.name!r}: the bounds {self.bounds} must rise; leave them out if it has none")

    @classmethod
    def of(
        cls,
        function: Callable[[Tensor, Tensor], float | Tensor],
        name: str | None = None,
        *,
        better: Literal["higher", "lower"] = "higher",
        title: str = "",
        bounds: tuple[float, float] | None = None,
    ) -> Self:
        """A metric from a function of one task.

        A task that has no finite prediction is not shown to it: it has no value.

        Args:
            function: from the class probabilities (or predictive means) ``[Q, D]`` and the targets ``[Q, D]`` of a
                task to its value.
            name: default the function's.
            better: whether higher or lower values are.
            title: what it is called in a sentence.
            bounds: between which every value lies.

        Example:
            >>> worst = Metric.of(lambda mean, y: (mean - y).abs().max(), "worst", better="lower")
            >>> worst.name, worst.sign
            ('worst', -1)
        """
        called = str(name or getattr(function, "__name__", type(function).__name__))

        def score(predictions: Predictions) -> Tensor:
            failed = predictions.failed.tolist()
            pairs = zip(predictions.mean, predictions.y, failed, strict=True)
            values = [math.nan if bad else _value(called, function(mean, y)) for mean, y, bad in pairs]
            return torch.tensor(values, dtype=torch.float64)

        return cls(called, score, better, title, bounds)

    @property
    def sign(self) -> int:
        """1 where higher values are better, -1 where lower ones are."""
        return 1 if self.better == "higher" else -1

    @property
    def called(self) -> str:
        """Its title, or its name."""
        return self.title or self.name

    @property
    def points(self) -> str:
        """The unit of a difference: that of two percentages is points."""
        return "points" if self.unit == "%" else self.unit

    def shown(self, value: float, sign: bool = False) -> str:
        """A value as it is shown, without its unit; with its sign, if asked for."""
        return f"{self.scale * value:{'+' if sign else ''}.{self.digits}f}"

    def text(self, value: float, interval: tuple[float, float]) -> str:
        """A mean with its interval: half of its width, or both ends where one is a fifth further than the other."""
        if not math.isfinite(value):
            return "no value"
        (low, high), unit = interval, f" {self.unit}" if self.unit else ""
        if not (math.isfinite(low) and math.isfinite(high)):
            return f"{self.shown(value)}{unit}"
        # Ends that are nearly alike far read better as one number.
        if abs((high - value) - (value - low)) <= 0.1 * (high - low):
            return f"{self.shown(value)} ± {self.shown((high - low) / 2)}{unit}"
        return f"{self.shown(value)}{unit} ({self.shown(low)} to {self.shown(high)})"


def _value(name: str, found: float | Tensor) -> float:
    if isinstance(found, Tensor) and found.numel() != 1:
        raise InputError(
            f"metric {name!r} gives values of shape {tuple(found.shape)} for one task; it must give one number: let it "
            f"average"
        )
    return float(found)


def accuracy(mean: Tensor, y: Tensor) -> Tensor:
    """Share of queries whose most probable class is the true one: ``[T, Q, D], [T, Q, D] -> [T]``.

    A query whose prediction is not finite is answered wrongly.

    Example:
        >>> accuracy(torch.eye(2).unsqueeze(0), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]))
        tensor([0.5000])
    """
    right = (mean.argmax(-1) == y.argmax(-1)) & mean.isfinite().all(-1)
    return right.float().mean(-1)


def squared_error(mean: Tensor, y: Tensor) -> Tensor:
    """Mean squared error over queries and columns, in squared units of y: ``[T, Q, D], [T, Q, D] -> [T]``."""
    return (mean - y).square().mean((-2, -1))


def roc_auc(score: Tensor, positive: Tensor) -> Tensor:
    """Area under the ROC curve: ``[T, Q], [T, Q] -> [T]``, NaN for a task that lacks a class.

    It is the probability that a random positive query scores higher than a random negative one; a tie counts half.

    Args:
        score: any number that grows with the belief that a query is positive.
        positive: whether it is.

    Example:
        >>> roc_auc(torch.tensor([[0.1, 0.4, 0.35, 0.8]]), torch.tensor([[False, False, True, True]]))
        tensor([0.7500], dtype=torch.float64)
    """
    from scipy.stats import rankdata

    positive = positive.double().cpu()
    ranks = torch.from_numpy(rankdata(score.double().cpu().numpy(), axis=1))
    ones, zeros = positive.sum(1), (1 - positive).sum(1)
    return ((ranks * positive).sum(1) - ones * (ones + 1) / 2) / (ones * zeros)


def delta_auprc(score: Tensor, positive: Tensor) -> Tensor:
    """Average precision minus its value for random scores, the share of positives: ``[T, Q], [T, Q] -> [T]``.

    0 is guessing; the best is 1 minus the share. NaN for a task without a positive. The arguments are those of
    :func:`roc_auc`.

    Example:
        >>> delta_auprc(torch.tensor([[0.1, 0.4, 0.35, 0.8]]), torch.tensor([[False, False, True, True]]))
        tensor([0.3333], dtype=torch.float64)

    References:
        Stanley et al., *FS-Mol: A Few-Shot Learning Dataset of Molecules*, NeurIPS Datasets and Benchmarks 2021.
    """
    from scipy.stats import rankdata

    positive = positive.bool().cpu()
    falling = -score.double().cpu()
    above = rankdata(falling.numpy(), "max", axis=1)
    above_positive = rankdata(falling.masked_fill(~positive, float("inf")).numpy(), "max", axis=1)
    precision = torch.from_numpy(above_positive / above).masked_fill(~positive, 0.0)
    return precision.sum(1) / positive.sum(1) - positive.double().mean(1)


SHARE = (0.0, 1.0)
ACCURACY = Metric(
    "accuracy", lambda p: accuracy(p.mean, p.y), bounds=SHARE, scale=100.0, unit="%", digits=2
)  # fmt: skip
MSE = Metric("mse", lambda p: squared_error(p.mean, p.y), "lower", "mean squared error")
LOG_LIKELIHOOD = Metric("log_likelihood", lambda p: -p.nll.mean(-1), title="log likelihood per point")
NLL = Metric("nll", lambda p: p.nll.mean(-1), "lower", "negative log likelihood")
ROC_AUC = Metric(
    "roc_auc", lambda p: roc_auc(p.log_odds, p.y[..., 1]), title="area under the ROC curve", bounds=SHARE
)  # fmt: skip
DELTA_AUPRC = Metric(
    "delta_auprc", lambda p: delta_auprc(p.log_odds, p.y[..., 1]), title="average precision above guessing",
    bounds=(-1.0, 1.0),
)  # fmt: skip
