"""MetaGAN (Zhang, Che, Ghahramani, Bengio, Song, NeurIPS 2018,
https://papers.nips.cc/paper_files/paper/2018/hash/4e4e53aa080247bc31d0eb4e7aeb07a0-Abstract.html).

A few-shot classifier gets one class more, "fake", and an adversary that makes fakes for each task: to tell them from
real examples it must draw tighter borders around the real classes. At test time the adversary is gone. Choose it to
squeeze more out of a metric head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.inner import call
from innerloop.core.learner import Learner, State
from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError, Task
from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.generative.draws import Draws
from innerloop.learners.generative.features import FeatureGenerator, head_or_prototypes
from innerloop.learners.head import Head, required


class Reverse(torch.autograd.Function):
    """The identity, whose gradient is turned around: below it, what minimizes a loss above maximizes it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """``x`` itself."""
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Minus the gradient."""
        return -gradient


class Adversarial(Head):
    """A head that is trained against generated fakes.

    Args:
        head: a learner on features with a :class:`~innerloop.Categorical` likelihood, such as
            :class:`~innerloop.learners.Relations`; default :class:`~innerloop.learners.Prototypes` with ``scale``.
        scale: factor of the squared distances of the default head.
        count: fakes made from each support feature.
        weight: of the fakes' term in the loss.
        fake: the logit of "fake" at the start; it is learned from there, the paper keeps it at 0. Logits of prototypes
            are minus a distance: there start it at that of an unlike example.
        features: numbers in a feature; default the encoder's.
        noise: numbers of noise; default as many.
        hidden: units of both hidden layers of the generator; default as many.
        likelihood: of the default head; default :class:`~innerloop.Categorical`.

    Raises:
        InputError: if nobody says the size of the features, the likelihood has no classes, or for options of the
            default head beside another one.
    """

    def __init__(
        self,
        *,
        head: Learner | None = None,
        scale: float | None = None,
        count: int = 1,
        weight: float = 0.1,
        fake: float = 0.0,
        features: int | None = None,
        noise: int | None = None,
        hidden: int | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        head = head_or_prototypes(head, scale, likelihood)
        super().__init__(head.likelihood)
        if not head.likelihood.classifies:
            raise InputError(
                f"{type(head.likelihood).__name__} has no class for fakes: give the head a Categorical likelihood"
            )
        check_number("weight", weight, "[0, inf)")
        check_number("fake", fake, "(-inf, inf)")
        check_count("noise", noise, 1, optional=True)
        self.head, self.weight, size = head, weight, required(features, self)
        self.generator = FeatureGenerator(size, noise or size, size, hidden)
        self.draws = Draws(noise or size, train=count, test=count)
        self.fake = nn.Parameter(torch.tensor(float(fake)))

    def adapt(self, support: Examples, state: State | None = None) -> State:  # noqa: D102
        return self.head.adapt(support, state)

    def predict(self, state: State, x: Tensor) -> Tensor:  # noqa: D102
        return self.head.predict(state, x)

    def loss(self, task: Task) -> Tensor:
        """Queries are of their class and not fake, generated features are fake; the generator wants otherwise."""
        support, query = task
        state = self.head.adapt(support)
        real = self.likelihood.nll(self._logits(state, query.x), F.pad(query.y, (0, 1)))
        # The generator alone is turned around: the encoder belongs to the discriminator.
        reversed_ = {name: Reverse.apply(p) for name, p in self.generator.named_parameters()}
        inputs = (support.x, self.draws(support.x), support.x.flatten(1).mean(0))
        fakes = call(self.generator, reversed_, *inputs)
        wanted = F.pad(query.y.new_ones(len(fakes), 1), (query.y.shape[1], 0))
        return real.mean() + self.weight * self.likelihood.nll(self._logits(state, fakes), wanted).mean()

    def _logits(self, state: State, z: Tensor) -> Tensor:
        """The head's logits and, last, that of "fake": ``[S, N, D + 1]``."""
        raw = self.head.predict(state, z)
        return torch.cat((raw, self.fake.expand(*raw.shape[:2], 1)), 2)


class MetaGAN(Embedded[Adversarial]):
    """MetaGAN: a few-shot classifier, trained to tell generated examples from those of a task's classes.

    The paper generates images; here features are generated, from the support features, their mean over the task, and
    noise. One optimizer trains classifier and generator: the gradient is reversed for the generator, which so maximizes
    the loss that the classifier minimizes (the paper's generator has that loss's non-saturating form).

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.MetaGAN(il.nets.conv4()).eval()
        >>> support = il.Examples(torch.rand(5, 1, 28, 28), torch.eye(5))
        >>> learner.predict(learner.adapt(support), torch.rand(7, 1, 28, 28)).shape
        torch.Size([1, 7, 5])

    References:
        Zhang et al., *MetaGAN: An Adversarial Approach to Few-Shot Learning*, NeurIPS 2018,
        https://papers.nips.cc/paper_files/paper/2018/hash/4e4e53aa080247bc31d0eb4e7aeb07a0-Abstract.html.
    """

    @composed(Adversarial)
    def __init__(self) -> None: ...
