"""Answering only what one is sure of: risk against coverage, and telling strangers from one's own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from innerloop.core.metric import roc_auc
from innerloop.core.task import InputError

Floats = npt.NDArray[np.float64]
#: Of some of the tasks, by their numbers.
Statistic = Callable[[npt.NDArray[np.intp]], float]


def risk_coverage(score: Floats, right: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The share of wrong answers among the surest ones, for each share of queries that is answered.

    Queries of one score are answered together: within them the wrong ones are spread evenly.

    Args:
        score: that grows with how sure an answer is, any shape of ``N`` numbers.
        right: whether it is right, of the same shape.

    Returns:
        the coverage ``k / N`` and the risk among the ``k`` surest, each ``[N]``.

    Raises:
        InputError: for no query, or other shapes.

    Example:
        >>> risk_coverage(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))[1].round(3).tolist()
        [0.0, 0.5, 0.333]

    References:
        El-Yaniv, Wiener, *On the Foundations of Noise-free Selective Classification*, JMLR 2010.
    """
    score, wrong = np.asarray(score, np.float64).ravel(), 1.0 - np.asarray(right, np.float64).ravel()
    if not len(score) or len(score) != len(wrong):
        raise InputError(f"{len(score)} scores of {len(wrong)} answers: give one each, of one at least")
    order = np.argsort(-score, kind="stable")
    score, wrong = score[order], wrong[order]
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    sizes = np.diff(np.r_[starts, len(score)])
    even = np.repeat(np.add.reduceat(wrong, starts) / sizes, sizes)
    taken = np.arange(1, len(score) + 1)
    return taken / len(score), np.cumsum(even) / taken


def area_under_risk(score: Floats, right: npt.NDArray[np.bool_]) -> float:
    """The mean risk over all coverages (AURC): 0 is best, the error rate what a score without meaning has.

    Example:
        >>> round(area_under_risk(np.array([0.9, 0.8, 0.7]), np.array([True, False, True])), 4)
        0.2778

    References:
        Geifman, Uziel, El-Yaniv, *Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers*, ICLR 2019,
        https://arxiv.org/abs/1805.08206.
    """
    return float(risk_coverage(score, right)[1].mean())


def excess_area(score: Floats, right: npt.NDArray[np.bool_]) -> float:
    """The area under the risk beyond that of the best score, which puts all wrong answers last.

    Example:
        >>> excess_area(np.array([0.9, 0.7, 0.8]), np.array([True, False, True]))
        0.0
    """
    best = np.asarray(right, np.float64)
    return area_under_risk(score, right) - area_under_risk(best, right)


def area_statistic(score: Floats, right: npt.NDArray[np.bool_]) -> Statistic:
    """:func:`area_under_risk` of some of the tasks, sorted once: what :func:`innerloop.evaluation.resampling.jackknife`
    takes.

    Args:
        score: ``[T, Q]``.
        right: ``[T, Q]``.
    """
    order = np.argsort(-score.ravel(), kind="stable")
    task, sorted_, truth = order // score.shape[1], score.ravel()[order], right.ravel()[order]

    def statistic(kept: npt.NDArray[np.intp]) -> float:
        there = np.isin(np.arange(len(score)), kept)[task]
        return area_under_risk(sorted_[there], truth[there])

    return statistic


def auroc(own: Floats, strangers: Floats) -> float:
    """The probability that one's own has a larger score than a stranger; a tie counts half. NaN where one is missing.

    Example:
        >>> auroc(np.array([0.9, 0.5]), np.array([0.5, 0.1]))
        0.875
    """
    score = torch.from_numpy(np.concatenate((np.ravel(own), np.ravel(strangers))).astype(np.float64))
    return float(roc_auc(score[None], (torch.arange(len(score)) < np.size(own))[None]))


def auroc_statistic(own: Floats, strangers: Floats) -> Statistic:
    """:func:`auroc` over all queries of some of the tasks, sorted once.

    Args:
        own: scores of a task's own queries, ``[T, Q]``.
        strangers: of queries that are not, ``[T, R]``.
    """
    score = np.concatenate((own, strangers), 1)
    order = np.argsort(score.ravel(), kind="stable")
    task, is_own, sorted_ = order // score.shape[1], order % score.shape[1] < own.shape[1], score.ravel()[order]

    def statistic(kept: npt.NDArray[np.intp]) -> float:
        there = np.isin(np.arange(len(score)), kept)[task]
        return _auroc_sorted(sorted_[there], is_own[there])

    return statistic


def _auroc_sorted(score: Floats, is_own: npt.NDArray[np.bool_]) -> float:
    """:func:`auroc` of rising scores, without sorting them anew."""
    positive = is_own.astype(np.float64)
    ones = positive.sum()
    zeros = len(score) - ones
    if not ones or not zeros:
        return math.nan
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    own, other = np.add.reduceat(positive, starts), np.add.reduceat(1 - positive, starts)
    below = np.cumsum(other) - other / 2
    return float(own @ below / (ones * zeros))
