"""Hallucinator (Wang, Girshick, Hebert, Hariharan, CVPR 2018, https://arxiv.org/abs/1801.05401).

A generator turns each support feature and noise into further features of the same class, and the head adapts to real
and imagined ones together; both are meta-trained end to end, so what is generated is whatever helps to classify. Choose
it for one or two examples a class; with more, generation is neutral or does harm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from innerloop.core.learner import Learner, State
from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count
from innerloop.core.task import Examples
from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.generative.draws import Draws
from innerloop.learners.generative.features import FeatureGenerator, head_or_prototypes
from innerloop.learners.head import Head, required


class Hallucinating(Head):
    """A head whose support set is enlarged by generated features.

    Args:
        head: a learner on features; default :class:`~innerloop.learners.Prototypes` with ``scale``.
        scale: factor of the squared distances of the default head.
        count: features generated from each support feature (outside training always by the same noise); 0: the head
            alone.
        features: numbers in a feature; default the encoder's.
        noise: numbers of noise; default as many.
        hidden: units of both hidden layers of the generator; default as many.
        likelihood: of the default head; default :class:`~innerloop.Categorical`.

    Raises:
        InputError: if nobody says the size of the features, for a negative count, or options of the default head beside
            another one.
    """

    def __init__(
        self,
        *,
        head: Learner | None = None,
        scale: float | None = None,
        count: int = 3,
        features: int | None = None,
        noise: int | None = None,
        hidden: int | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        head = head_or_prototypes(head, scale, likelihood)
        super().__init__(head.likelihood)
        check_count("count, of generated features for each support feature,", count, 0)
        check_count("noise", noise, 1, optional=True)
        self.head, self.count = head, count
        if count:
            size = required(features, self)
            self.generator = FeatureGenerator(size, noise or size, hidden=hidden)
            self.draws = Draws(noise or size, train=count, test=count)

    def adapt(self, support: Examples, state: State | None = None) -> State:  # noqa: D102
        z, y = support
        if self.count:
            z = torch.cat((z, self.generator(z, self.draws(z))))
            y = y.repeat(1 + self.count, 1)
        return self.head.adapt(Examples(z, y), state)

    def predict(self, state: State, x: Tensor) -> Tensor:  # noqa: D102
        return self.head.predict(state, x)


class Hallucinator(Embedded[Hallucinating]):
    """Imagined features: a generator enlarges the support set, trained end to end with the classifier.

    The generated feature is the real one and a learned change, which starts small; so at first this is the head alone.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.Hallucinator(il.nets.conv4(), count=2).eval()
        >>> learner.adapt(il.Examples(torch.rand(5, 1, 28, 28), torch.eye(5))).head.counts
        tensor([3., 3., 3., 3., 3.])

    References:
        Wang et al., *Low-Shot Learning from Imaginary Data*, CVPR 2018, https://arxiv.org/abs/1801.05401.
    """

    @composed(Hallucinating)
    def __init__(self) -> None: ...
