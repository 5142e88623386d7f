"""Ridge regression on one-hot targets, in closed form (Bertinetto et al., ICLR 2019, https://arxiv.org/abs/1805.08136).

A linear map from features to the rows of the classes, by least squares with a penalty. Its solution is one linear
system of the size of the support set, however long the features are, and gradients pass through it; what each example
would get from all the others follows from the same system, exactly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, join
from innerloop.learners.head import Head, Joined


class LinearFit(NamedTuple):
    """The examples, since a further one changes the whole fit, and the classifier: weight ``[D, H]``, bias ``[D]``."""

    examples: Examples
    weight: Tensor
    bias: Tensor


class Ridge(Head):
    """Least squares from features to one-hot rows, with a penalty on the weights and none on the bias.

    Penalty and scale are meta-parameters, kept as logarithms.

    Args:
        penalty: what the squared weights count beside the squared errors, as it is before meta-training.
        scale: factor of the logits, which are the fitted rows, as it is before meta-training.
        normalize: whether features are scaled to unit length first.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for a penalty or a scale that is not positive and finite.

    Example:
        >>> head = Ridge(penalty=0.1, scale=1.0).requires_grad_(False)
        >>> state = head.adapt(Examples(torch.eye(2), torch.eye(2)))
        >>> head.predict(state, torch.eye(2)).argmax(2)
        tensor([[0, 1]])

    References:
        Bertinetto, Henriques, Torr, Vedaldi, *Meta-learning with differentiable closed-form solvers*, ICLR 2019,
        https://arxiv.org/abs/1805.08136. Allen, *The relationship between variable selection and data augmentation*,
        Technometrics 1974 (the residuals of examples left out). Cawley, Talbot, *Fast exact leave-one-out
        cross-validation of sparse least-squares support vector machines*, Neural Networks 2004.
    """

    def __init__(
        self,
        *,
        penalty: float = 1.0,
        scale: float = 10.0,
        normalize: bool = True,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        for name, value in (("penalty", penalty), ("scale", scale)):
            check_number(f"the {name} of the ridge", value, "(0, inf)")
        self.normalize = normalize
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, support: Examples, state: LinearFit | None = None) -> LinearFit:  # noqa: D102
        support = join(state.examples if state else None, support)
        z, y = self._vectors(support.x), support.y
        center, level = z.mean(0), y.mean(0)
        # A system of N equations and not of H: there are fewer examples than numbers in a feature vector.
        dual = self._solve((z - center) @ (z - center).mT, y - level)
        weight = dual.mT @ (z - center)
        return LinearFit(support, weight, level - weight @ center)

    def predict(self, state: LinearFit, x: Tensor) -> Tensor:  # noqa: D102
        logits = self._logits(F.linear(self._vectors(x), state.weight, state.bias))
        # A class that has no support example cannot be the answer.
        return logits.masked_fill(state.examples.y.sum(0) == 0, -math.inf).unsqueeze(0)

    def held_out(self, support: Examples) -> Tensor:
        """By the diagonal of the hat matrix."""
        hat, y = self._hat(support), support.y
        free = (1 - hat.diagonal()).clamp(min=torch.finfo(y.dtype).eps).unsqueeze(1)
        return self._logits(y - (y - hat @ y) / free).masked_fill(y.sum(0) - y == 0, -math.inf)

    def held_out_pairs(self, support: Examples) -> Tensor:
        """By two equations a pair, of the hat matrix."""
        y = support.y
        return self._logits(pairs_left_out(self._hat(support), y)).masked_fill(pairs_lack(y), -math.inf)

    def joined(self, support: Examples, x: Tensor) -> Joined:
        """By a row and a column more in the inverse of the bordered system, whose diagonal gives the residuals of
        examples left out (Cawley and Talbot 2004).
        """
        z, y, queries = self._vectors(support.x), support.y, self._vectors(x)
        center = z.mean(0)
        z, queries = z - center, queries - center
        penalty, one = self.log_penalty.exp().to(z), torch.ones_like(z[:, :1])
        system = torch.cat((z @ z.mT + penalty * torch.eye(len(z), dtype=z.dtype, device=z.device), one), 1)
        system = torch.cat((system, torch.cat((one, torch.zeros_like(one[:1]))).mT))
        inverse = torch.linalg.inv(system)
        # The row that a query adds: [Q, N + 1].
        row = torch.cat((queries @ z.mT, torch.ones_like(queries[:, :1])), 1)
        change = row @ inverse
        pivot = (queries.square().sum(1) + penalty - (change * row).sum(1)).unsqueeze(1)
        change = change[:, : len(z)]
        fitted = change @ y
        dual, diagonal = inverse[: len(z), : len(z)] @ y, inverse.diagonal()[: len(z)]
        step = change / pivot
        free = (diagonal + change * step).unsqueeze(2)
        # A query that joins under no class, and what its one adds to the column of a class.
        plain = y - (dual + step.unsqueeze(2) * fitted.unsqueeze(1)) / free
        joins = plain + step.unsqueeze(2) / free
        plain = self._logits(plain).masked_fill(y.sum(0) - y == 0, -math.inf)
        asked = self._logits(fitted).unsqueeze(1)
        return Joined(torch.cat((plain, asked), 1), torch.cat((self._logits(joins), asked), 1))

    def _hat(self, support: Examples) -> Tensor:
        z = self._vectors(support.x)
        centered = z - z.mean(0)
        gram = centered @ centered.mT
        return self._solve(gram, gram).mT + 1 / z.shape[0]

    def _solve(self, gram: Tensor, right: Tensor) -> Tensor:
        penalty = self.log_penalty.exp().to(gram)
        return torch.linalg.solve(
            gram + penalty * torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device), right
        )

    def _logits(self, rows: Tensor) -> Tensor:
        return self.log_scale.exp().to(rows) * rows

    def _vectors(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        return F.normalize(z, dim=1) if self.normalize else z

    def extra_repr(self) -> str:  # noqa: D102
        return f"penalty={self.log_penalty.exp().item():.4g}, scale={self.log_scale.exp().item():.4g}"


def pairs_left_out(hat: Tensor, y: Tensor) -> Tensor:
    """Fitted rows of examples that are left out two at a time, ``[N, N, D]``, of a linear smoother.

    Args:
        hat: what each fitted row takes from each target, ``[N, N]``, of least squares with a penalty.
        y: targets ``[N, D]``.

    Returns:
        row i, column j: of example i where j is left out too; on the diagonal i alone.
    """
    residual, free, eye = y - hat @ y, 1 - hat.diagonal(), torch.eye(len(y), dtype=y.dtype, device=y.device)
    hat = hat * (1 - eye)
    # On the diagonal the second equation says nothing.
    other = free.unsqueeze(0) * (1 - eye) + eye
    determinant = (free.unsqueeze(1) * other - hat.square()).clamp(min=torch.finfo(y.dtype).eps)
    errors = other.unsqueeze(2) * residual.unsqueeze(1) + hat.unsqueeze(2) * residual.unsqueeze(0)
    return y.unsqueeze(1) - errors / determinant.unsqueeze(2)


def pairs_lack(y: Tensor) -> Tensor:
    """Which classes have no example left once two are left out, bool ``[N, N, D]``."""
    eye = torch.eye(len(y), dtype=y.dtype, device=y.device).unsqueeze(2)
    return y.sum(0) - y.unsqueeze(1) - y.unsqueeze(0) * (1 - eye) < 0.5
