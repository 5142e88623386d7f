"""VERSA (Gordon, Bronskill, Bauer, Nowozin, Turner, ICLR 2019, https://arxiv.org/abs/1805.09921).

A network reads the mean feature of a class and answers with a Gaussian over that class's row of a linear classifier; a
prediction averages over classifiers drawn from it. Choose it where one forward pass must do at test time, and where the
uncertainty of a classifier that one example supports should show in its probabilities.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples
from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.generative.draws import Draws
from innerloop.learners.head import required
from innerloop.learners.heads.exchanged import Exchanging
from innerloop.learners.heads.prototypes import ClassSums
from innerloop.nets.mlp import mlp

_START = 0.01
_START_LOG_VARIANCE = -6.0


class AmortizedHead(Exchanging):
    """The head of VERSA, on feature vectors: q(weights of a class | its mean feature).

    Args:
        features: H, numbers in a feature vector; default the encoder's.
        hidden: units of both hidden layers of the two inference networks; default H.
        draws: classifiers S drawn for a prediction in training mode.
        test_draws: the same, otherwise; they are the same draws on every call.
        scale: factor of the squared distances of the prototype classifier that the weights' mean starts as, beside a
            learned correction, which starts small; 0 starts at random, as the paper does, and trains more slowly.
        exchange: in meta-training let support and query examples change places: every part of a task's examples that
            is as large as the support set, in their order, is the support set once and the rest are queries, and the
            loss is the mean. More classifiers inferred from the same features, for tasks with few queries.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: if nobody says the size of the features, or for a negative scale.
    """

    def __init__(
        self,
        *,
        features: int | None = None,
        hidden: int | None = None,
        draws: int = 10,
        test_draws: int = 50,
        scale: float = 0.1,
        exchange: bool = False,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        check_number("the scale of the prototypes' distances", scale, "[0, inf)")
        size = required(features, self)
        width = hidden or size
        self.mean = mlp(size, width, width, size + 1, activation=nn.ELU)
        self.log_variance = mlp(size, width, width, size + 1, activation=nn.ELU)
        self.draws = Draws(size + 1, train=draws, test=test_draws)
        self.scale, self.exchange = scale, exchange
        last = self.log_variance[-1]
        nn.init.constant_(last.bias, _START_LOG_VARIANCE)  # type: ignore[arg-type]
        with torch.no_grad():
            last.weight.mul_(_START)  # type: ignore[operator, union-attr]
            if scale:
                for parameter in self.mean[-1].parameters():
                    parameter.mul_(_START)

    def adapt(self, support: Examples, state: ClassSums | None = None) -> ClassSums:  # noqa: D102
        return ClassSums.of(support.x.flatten(1), support.y, state)

    def posterior(self, state: ClassSums) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each class's weights, the bias last: each ``[D, H + 1]``."""
        pooled = state.means
        prototype = torch.cat((2 * pooled, -pooled.square().sum(1, keepdim=True)), 1)
        return self.scale * prototype + self.mean(pooled), (0.5 * self.log_variance(pooled)).exp()

    def predict(self, state: ClassSums, x: Tensor) -> Tensor:  # noqa: D102
        mean, deviation = self.posterior(state)
        weights = mean + deviation * self.draws.each(mean)
        raw = F.pad(x.flatten(1), (0, 1), value=1.0) @ weights.mT
        # A class that has no support example cannot be the answer.
        return raw.masked_fill(state.counts == 0, -math.inf)

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale}"


class Versa(Embedded[AmortizedHead]):
    """VERSA: a network infers a distribution over linear classifiers from the mean feature of each class.

    The classes' weights are independent given the support set, as in the paper. Examples fold in exactly, and any
    number of ways and shots is taken.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.Versa(il.nets.conv4()).eval()
        >>> support = il.Examples(torch.rand(5, 1, 28, 28), torch.eye(5))
        >>> learner.predict(learner.adapt(support), torch.rand(7, 1, 28, 28)).shape
        torch.Size([50, 7, 5])

    References:
        Gordon et al., *Meta-Learning Probabilistic Inference for Prediction*, ICLR 2019,
        https://arxiv.org/abs/1805.09921.
    """

    @composed(AmortizedHead)
    def __init__(self) -> None: ...
