"""Neural Statistician (Edwards, Storkey, ICLR 2017, https://arxiv.org/abs/1606.02185).

A variational autoencoder of data sets and not of examples: one latent vector c says what a class looks like, another,
z, how one example of it varies. Trained without a classification loss it draws new examples of a class from one
example, and classifies by comparing the posteriors of c. Choose it where examples are to be generated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from innerloop.core.facts import Facts
from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, InputError, Task
from innerloop.learners.embedded import Embedded, EmbeddedState, composed
from innerloop.learners.generative.draws import Draws, Normal
from innerloop.learners.head import Head, required
from innerloop.learners.heads.prototypes import ClassSums
from innerloop.nets.decoder import Decoder
from innerloop.nets.mlp import mlp

#: Log-variances stay within this bound, so that no variance vanishes or overflows.
_BOUND = 8.0


class NormalNet(nn.Module):
    """A network that gives a diagonal Gaussian: ``[..., inputs] ->`` mean and deviation, each ``[..., size]``."""

    def __init__(self, inputs: int, hidden: int, size: int) -> None:
        super().__init__()
        self.net = mlp(inputs, hidden, hidden, 2 * size, activation=nn.ELU)

    def forward(self, x: Tensor) -> Normal:
        """The Gaussian."""
        mean, log_variance = self.net(x).chunk(2, -1)
        return Normal(mean, (0.5 * _BOUND * torch.tanh(log_variance / _BOUND)).exp())


class StatisticianHead(Head):
    """The neural statistician on features and, beside them, the pixels that they came from: ``[N, H + C * S * S]``.

    Args:
        features: H, numbers in a feature vector; default the encoder's.
        shape: of one image ``(C, S, S)``, values in 0 to 1; default ``encoder.shape``.
        context: numbers in c, the latent vector of a class.
        latent: numbers in z, the latent vector of an example.
        hidden: units of the hidden layers.
        width: filters of the decoder.
        posterior: what the posterior of c sees in training: ``"all"`` examples of the class, as in the paper, or its
            ``"support"`` only, as at test time. Both give a lower bound of the same evidence.
        discriminative: weight of the classifier's negative log likelihood (nats per query) beside the bound (nats per
            example); 0, the default, is the paper's objective.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: if nobody says ``shape`` and H, or for an unknown ``posterior``.
    """

    def __init__(
        self,
        *,
        features: int | None = None,
        shape: Sequence[int] | None = None,
        context: int = 64,
        latent: int = 16,
        hidden: int = 256,
        width: int = 32,
        posterior: Literal["all", "support"] = "all",
        discriminative: float = 0.0,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        if posterior not in ("all", "support"):
            raise InputError(f"posterior={posterior!r} is unknown; choose 'all' or 'support'")
        check_number("the discriminative weight", discriminative, "[0, inf)")
        if shape is None or len(shape) != 3:
            raise InputError(
                f"the statistician draws images, and was told examples of shape {shape}: pass shape=(C, S, S), or an "
                f"encoder with an attribute `shape`"
            )
        self.features, self.posterior, self.discriminative = required(features, self), posterior, discriminative
        self.statistic = NormalNet(self.features, hidden, context)
        self.prior_z = NormalNet(context, hidden, latent)
        self.posterior_z = NormalNet(self.features + context, hidden, latent)
        self.decoder = Decoder(latent + context, shape, width)
        self.noise_c, self.noise_z = Draws(context, test=256), Draws(latent, test=256)

    @classmethod
    def on(cls, encoder: nn.Module, *arguments: Any, **options: Any) -> StatisticianHead:  # noqa: D102
        if options.get("shape") is None:
            options["shape"] = getattr(encoder, "shape", None)
        return super().on(encoder, *arguments, **options)

    @classmethod
    def given(cls, facts: Facts) -> dict[str, Any]:  # noqa: D102
        return {"shape": facts.shape}

    def adapt(self, support: Examples, state: ClassSums | None = None) -> ClassSums:  # noqa: D102
        return ClassSums.of(support.x[:, : self.features], support.y, state)

    def context(self, state: ClassSums) -> Normal:
        """q(c | the examples of a class): mean and deviation, each ``[D, context]``."""
        q: Normal = self.statistic(state.means)
        return q

    def predict(self, state: ClassSums, x: Tensor) -> Tensor:
        """Minus the divergence of q(c | the query alone) from q(c | the class's support)."""
        alone = Normal(*(part.unsqueeze(1) for part in self.statistic(x[:, : self.features])))
        logits = -alone.divergence(self.context(state))
        # A class that has no support example cannot be the answer.
        return logits.masked_fill(state.counts == 0, -math.inf).unsqueeze(0)

    def loss(self, task: Task) -> Tensor:
        """Negative evidence lower bound of the task's data sets, one a class, in nats per example."""
        (xs, ys), (xq, yq) = task
        x, y = torch.cat((xs, xq)), torch.cat((ys, yq))
        state = self.adapt(Examples(x, y))
        bound = self.bound(x, y, state if self.posterior == "all" else self.adapt(task.support))
        loss = -torch.stack(bound).sum() / len(x)
        return loss + self.discriminative * super().loss(task) if self.discriminative else loss

    def bound(self, x: Tensor, y: Tensor, state: ClassSums) -> tuple[Tensor, Tensor, Tensor]:
        """The parts of the evidence lower bound, summed over examples and classes, in nats.

        Returns:
            the log likelihood of the pixels, minus the divergence of the examples' latents z from their prior given c,
            and minus the divergence of the classes' latents c from theirs.
        """
        h, pixels = x[:, : self.features], x[:, self.features :]
        q_c = self.context(state)
        c = y @ self._draw(q_c, self.noise_c)
        q_z = self.posterior_z(torch.cat((h, c), 1))
        logits = self.decoder(torch.cat((self._draw(q_z, self.noise_z), c), 1)).flatten(1)
        pixels = -F.binary_cross_entropy_with_logits(logits, pixels.clamp(0, 1), reduction="sum")
        standard = Normal(torch.zeros_like(q_c.mean), torch.ones_like(q_c.scale))
        # A class without any example is no data set.
        present = (y.sum(0) > 0).to(x.dtype)
        return pixels, -q_z.divergence(self.prior_z(c)).sum(), -(q_c.divergence(standard) * present).sum()

    def _draw(self, q: Normal, noise: Draws) -> Tensor:
        return q.mean + q.scale * noise.each(q.mean)[0]

    def sample(self, state: ClassSums, count: int, generator: Generator | None = None) -> Tensor:
        """New examples of each class, as pixel probabilities in 0 to 1: ``[D, count, C, S, S]``.

        c is its posterior's mean, z is drawn from its prior given c.
        """
        c = self.context(state)[0].repeat_interleave(count, 0)
        mean, scale = self.prior_z(c)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        pixels = self.decoder(torch.cat((mean + scale * noise, c), 1)).sigmoid()
        return pixels.unflatten(0, (-1, count))


class WithPixels(nn.Module):
    """Features, followed by the pixels that they came from: ``[N, C, S, S] -> [N, H + C * S * S]``."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """Features and pixels."""
        return torch.cat((self.encoder(x).flatten(1), x.flatten(1)), 1)


class Statistician(Embedded[StatisticianHead]):
    """Neural statistician: a generative model of classes that classifies, and draws new examples of a class.

    Pixels are Bernoulli: values in 0 to 1 (what lies outside is clipped). A class's data set is its support and query
    examples together. Any number of ways and shots is taken.

    Args:
        encoder: a module ``[N, C, S, S] -> [N, H]``.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.Statistician(il.nets.conv4()).eval()
        >>> state = learner.adapt(il.Examples(torch.rand(5, 1, 28, 28), torch.eye(5)))
        >>> learner.sample(state, count=3).shape
        torch.Size([5, 3, 1, 28, 28])

    References:
        Edwards, Storkey, *Towards a Neural Statistician*, ICLR 2017, https://arxiv.org/abs/1606.02185.
    """

    @composed(StatisticianHead)
    def __init__(self) -> None:
        self.encoder = WithPixels(self.encoder)

    def backbone(self) -> nn.Module:  # noqa: D102
        return self.encoder.get_submodule("encoder")

    def sample(self, state: EmbeddedState, count: int, generator: Generator | None = None) -> Tensor:
        """New examples of each class of an adapted state, as pixel probabilities in 0 to 1.

        Args:
            state: from :meth:`adapt`.
            count: examples a class.
            generator: of the draws; default torch's global one.

        Returns:
            ``[D, count, C, S, S]``.
        """
        return self.head.sample(state.head, count, generator)
