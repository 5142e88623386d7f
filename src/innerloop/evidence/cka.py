"""Centered kernel alignment: how alike two representations of the same examples are."""

from __future__ import annotations

import torch
from torch import Tensor

from innerloop.core.task import InputError


def linear_cka(x: Tensor, y: Tensor, *, unbiased: bool = True) -> Tensor:
    """Linear centered kernel alignment of two representations of the same n examples: 1 for the same one.

    Neither a turn of the axes, nor a scale of all of them, nor a shift changes it. The plain form is biased upwards
    where features are many and examples few; the unbiased one is 0 on average for representations that have nothing in
    common, and may be slightly below.

    Args:
        x: ``[n, *F]``: all axes after the first are features.
        y: ``[n, *G]``; the features need not be as many.
        unbiased: the estimator of Song et al. in place of the plain one; it takes 4 examples at least.

    Returns:
        a scalar in float64; NaN where one of them is constant.

    Raises:
        InputError: for other examples on either side, or too few of them.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [3.0, 5.0], [4.0, 2.0]])
        >>> round(float(linear_cka(x, 3 * x.flip(1))), 6)
        1.0

    References:
        Kornblith, Norouzi, Lee, Hinton, *Similarity of Neural Network Representations Revisited*, ICML 2019,
        https://arxiv.org/abs/1905.00414. Nguyen, Raghu, Kornblith, *Do Wide and Deep Networks Learn the Same Things?*,
        ICLR 2021, https://arxiv.org/abs/2010.15327 (the unbiased form). Song et al., *Feature Selection via Dependence
        Maximization*, JMLR 2012 (its estimator).
    """
    least = 4 if unbiased else 2
    if x.ndim < 2 or y.ndim < 2 or len(x) != len(y) or len(x) < least:
        raise InputError(
            f"representations {tuple(x.shape)} and {tuple(y.shape)}: give [n, *F] and [n, *G] of the same n examples, "
            f"{least} at least"
        )
    first, second = _gram(x), _gram(y)
    hsic = _hsic_unbiased if unbiased else _hsic
    norms = hsic(first, first).clamp_min(0).sqrt() * hsic(second, second).clamp_min(0).sqrt()
    return torch.where(norms > 0, hsic(first, second) / norms, torch.nan)


def _gram(x: Tensor) -> Tensor:
    """Inner products of centered features ``[n, n]``; all 0 where what is left of them is rounding."""
    x = x.detach().flatten(1).double()
    centered = x - x.mean(0)
    centered = centered * (centered.abs().amax() > 1e-12 * x.abs().amax())
    return centered @ centered.mT


def _hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """The plain estimator, up to a factor that cancels: the matrices are centered."""
    return (k * l).sum()


def _hsic_unbiased(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """The estimator of Song et al., up to a factor that cancels."""
    n = len(k)
    k, l = (m - m.diagonal().diag() for m in (k, l))  # noqa: E741
    rows, columns = k.sum(1), l.sum(1)
    apart = rows.sum() * columns.sum() / ((n - 1) * (n - 2))
    return (k * l).sum() + apart - 2 / (n - 2) * (rows @ columns)
