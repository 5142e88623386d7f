"""Metrics per task: ``[T]``, never a mean over tasks."""

from __future__ import annotations

import torch
from torch import Tensor


def accuracy(mean: Tensor, y: Tensor) -> Tensor:
    """Share of queries whose most probable class is the true one: ``[T, Q, D], [T, Q, D] -> [T]``.

    Example:
        >>> accuracy(torch.eye(2).unsqueeze(0), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]))
        tensor([0.5000])
    """
    return (mean.argmax(-1) == y.argmax(-1)).float().mean(-1)


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
    ranks = torch.from_numpy(rankdata(score.cpu().numpy(), axis=1))
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


#: Central intervals whose coverage is reported.
LEVELS = (0.5, 0.9, 0.95)


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
    confidence, answer = mean.reshape(-1, mean.shape[-1]).double().max(-1)
    right = (answer == y.reshape(-1, y.shape[-1]).argmax(-1)).double()
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64, device=mean.device).index_add(0, bin_of, right - confidence)
    return float(gaps.abs().sum() / len(right))
