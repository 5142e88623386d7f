"""What evaluation measures: the metrics of a kind of tasks, those of other libraries, coverage and calibration."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from innerloop.core.metric import ACCURACY, DELTA_AUPRC, LOG_LIKELIHOOD, MSE, NLL, ROC_AUC, Metric
from innerloop.core.task import InputError

#: Central intervals whose coverage is reported.
LEVELS = (0.5, 0.9, 0.95)


@runtime_checkable
class Accumulating(Protocol):
    """A metric that is updated batch by batch, as those of torchmetrics are."""

    def reset(self) -> Any:
        """Forget what was seen."""

    def update(self, preds: Tensor, target: Tensor) -> Any:
        """See a batch."""

    def compute(self) -> Any:
        """The value on all that was seen."""


#: A metric, one of torchmetrics, or a function from predictive means ``[Q, D]`` and targets ``[Q, D]`` of a task to
#: its value, higher being better (:meth:`innerloop.core.metric.Metric.of` takes the other direction).
AnyMetric = Metric | Accumulating | Callable[[Tensor, Tensor], float | Tensor]


def standard(classifies: bool, binary: bool, spreads: bool) -> list[Metric]:
    """What tasks of a kind are measured by, first what they are judged by, unless their sampler says otherwise.

    Args:
        classifies: whether targets are one-hot rows.
        binary: whether there are two classes, whose ranking can be scored.
        spreads: whether the spread of real targets is predicted.
    """
    if classifies:
        return [ACCURACY, *([ROC_AUC, DELTA_AUPRC] if binary else []), NLL]
    return [*([LOG_LIKELIHOOD] if spreads else []), MSE, NLL]


def as_metrics(given: Sequence[AnyMetric], classifies: bool) -> list[Metric]:
    """Metrics of any make as ours.

    Raises:
        InputError: for something else, a metric that does not say which values are better, or a name that stands
            twice or that evaluation gives itself.
    """
    found = [_as_metric(one, classifies) for one in given]
    names = [one.name for one in found]
    own = {one.name: one for one in (ACCURACY, ROC_AUC, DELTA_AUPRC, LOG_LIKELIHOOD, MSE, NLL)}
    for one in found:
        if names.count(one.name) > 1 or one.name.startswith("coverage") or own.get(one.name, one) != one:
            raise InputError(
                f"metric {one.name!r} stands twice, or has the name of one that evaluation gives itself: rename it, "
                f"with il.Metric.of(..., name=...)"
            )
    return found


def _as_metric(given: AnyMetric, classifies: bool) -> Metric:
    if isinstance(given, Metric):
        return given
    if isinstance(given, Accumulating) and not isinstance(given, type):
        return _accumulated(given, classifies)
    if callable(given) and not isinstance(given, type):
        return Metric.of(given)
    raise InputError(
        f"{given!r} is no metric: give an il.Metric, an object with reset, update and compute (torchmetrics), or a "
        f"function of (mean, y)"
    )


def _accumulated(given: Accumulating, classifies: bool) -> Metric:
    """A metric of torchmetrics, task by task: its answers are probabilities and labels, or means and targets."""
    name, own = type(given).__name__, copy.deepcopy(given)
    higher = getattr(own, "higher_is_better", None)
    if higher is None:
        raise InputError(
            f"{name} does not say whether higher values are better: choose one that does, or give "
            f"il.Metric.of(function, better=...)"
        )
    if hasattr(own, "distributed_available_fn"):
        # Each task is scored by one rank: to wait for the others would be to wait for ever.
        own.distributed_available_fn = _alone
    ends = getattr(own, "plot_lower_bound", None), getattr(own, "plot_upper_bound", None)
    bounds = (float(ends[0]), float(ends[1])) if ends[0] is not None and ends[1] is not None else None
    device = getattr(own, "device", None)

    def score(mean: Tensor, y: Tensor) -> Tensor:
        if classifies:
            binary = mean.shape[-1] == 2 and not hasattr(own, "num_classes")
            answer, truth = mean[:, 1] if binary else mean, y.argmax(-1)
        else:
            answer, truth = (mean[:, 0], y[:, 0]) if y.shape[-1] == 1 else (mean, y)
        own.reset()
        try:
            own.update(answer.to(device).contiguous(), truth.to(device).contiguous())
            return torch.as_tensor(own.compute())
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"{name} cannot score a task with answers {tuple(answer.shape)} and targets {tuple(truth.shape)} "
                f"({str(error).splitlines()[0]}): build it for tasks of {y.shape[-1]} target columns"
            ) from error

    better: Literal["higher", "lower"] = "higher" if higher else "lower"
    return Metric.of(score, name, better=better, bounds=bounds)


def _alone() -> bool:
    return False


def coverage(cdf: Tensor, level: float) -> Tensor:
    """Share of targets within the central predictive interval: ``[T, Q, D] -> [T]``.

    Args:
        cdf: the predictive distribution function at each target.
        level: mass of the interval; a calibrated prediction covers as much.

    Example:
        >>> coverage(torch.tensor([[[0.5], [0.99]]]), 0.9)
        tensor([0.5000])
    """
    return ((cdf - 0.5).abs() <= level / 2).to(cdf.dtype).mean((-2, -1))


def calibration_error(mean: Tensor, y: Tensor, bins: int = 15) -> float:
    """Expected calibration error of the top class over all queries: 0 is calibrated, 1 the worst.

    Queries whose probabilities are not finite are left out; NaN if none is left.

    Args:
        mean: class probabilities ``[..., D]``.
        y: one-hot rows ``[..., D]``.
        bins: equal bins of the confidence.

    Example:
        >>> calibration_error(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.eye(2))
        0.5

    References:
        Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, https://arxiv.org/abs/1706.04599.
    """
    return calibration_of(calibration_gaps(mean, y, bins))


def calibration_gaps(mean: Tensor, y: Tensor, bins: int = 15) -> Tensor:
    """What the calibration error is made of, to be added over batches: gaps ``[bins]``, then the number of queries."""
    mean, y = mean.reshape(-1, mean.shape[-1]).double(), y.reshape(-1, y.shape[-1])
    kept = mean.isfinite().all(-1)
    confidence, answer = mean[kept].max(-1)
    right = (answer == y[kept].argmax(-1)).double()
    bin_of = (confidence * bins).long().clamp(0, bins - 1)
    gaps = torch.zeros(bins + 1, dtype=torch.float64, device=mean.device).index_add(0, bin_of, right - confidence)
    gaps[-1] = len(right)
    return gaps


def calibration_of(gaps: Tensor) -> float:
    """The expected calibration error of summed :func:`calibration_gaps`; NaN for no query."""
    total = float(gaps[-1])
    return float(gaps[:-1].abs().sum()) / total if total else math.nan
