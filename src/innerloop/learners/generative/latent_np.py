"""Neural Processes (Garnelo et al., 2018, https://arxiv.org/abs/1807.01622).

A function is a latent vector: the context gives a Gaussian over it, a decoder turns a draw and a point into a
prediction. A draw is a whole function, so samples hang together from point to point, and what the context leaves open
shows as disagreement between them. Choose it for coherent samples from a cheap model; CANP and TNP-D predict better.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count
from innerloop.core.task import Examples, InputError, Task
from innerloop.learners.generative.draws import Draws, Normal
from innerloop.learners.generative.process import NeuralProcess, PointDecoder
from innerloop.nets.sets import SetEncoder, SetSums

Bound = Literal["elbo", "importance", "likelihood"]


class LatentProcess(NeuralProcess):
    """What neural processes with a latent vector share: the bound that they are trained on, and draws of functions.

    A subclass gives :meth:`belief`, q(z | state), and :meth:`decode`.

    Args:
        inputs: columns of x.
        targets: columns D of y.
        latent: length L of the latent vector.
        draws: of it in training and otherwise.
        bound: ``"elbo"``: mean log likelihood of the queries over draws from q(z | context and queries), minus its KL
            divergence from q(z | context). ``"importance"``: its importance-weighted form, tighter with more draws.
            ``"likelihood"``: draws from q(z | context), mixed: what is measured at test time.
        likelihood: default :class:`~innerloop.Gaussian` with a learned deviation.

    References:
        Burda, Grosse, Salakhutdinov, *Importance Weighted Autoencoders*, ICLR 2016, https://arxiv.org/abs/1509.00519.
    """

    def __init__(
        self,
        inputs: int,
        targets: int,
        latent: int,
        draws: tuple[int, int],
        bound: Bound,
        likelihood: Likelihood | None,
    ) -> None:
        super().__init__(inputs, targets, likelihood)
        if bound not in ("elbo", "importance", "likelihood"):
            raise InputError(f"bound {bound!r} is unknown; choose 'elbo', 'importance' or 'likelihood'")
        check_count("latent", latent, 1)
        self.draws = Draws(latent, train=draws[0], test=draws[1])
        self.bound = bound

    @abstractmethod
    def belief(self, state: Any) -> Normal:
        """q(z | what the state has seen)."""

    @abstractmethod
    def decode(self, state: Any, z: Tensor, x: Tensor) -> Tensor:
        """Raw predictions under draws ``z [S, L]``: ``[N, inputs] -> [S, N, P]``."""

    def predict(self, state: Any, x: Tensor) -> Tensor:  # noqa: D102
        mean, scale = self.belief(state)
        return self.decode(state, mean + scale * self.draws(mean), x)

    def sample(self, state: Any, x: Tensor, draws: int = 1, generator: Generator | None = None) -> Tensor:
        """Functions: the means of the targets under ``draws`` latent vectors, ``[N, inputs] -> [draws, N, D]``."""
        mean, scale = self.belief(state)
        noise = torch.randn(draws, len(mean), generator=generator, dtype=mean.dtype, device=mean.device)
        raw = self.decode(state, mean + scale * noise, x)
        return torch.stack([self.likelihood.mean(one.unsqueeze(0)) for one in raw])

    def loss(self, task: Task) -> Tensor:
        """The negative bound on the log likelihood of all queries together, in nats per query."""
        (context, query), N = task, len(task.query.x)
        state = self.adapt(context)
        prior = self.belief(state)
        posterior = prior if self.bound == "likelihood" else self.belief(self.adapt(query, state))
        z = posterior.mean + posterior.scale * self.draws(prior.mean)
        fit = self.likelihood.log_prob(self.decode(state, z, query.x), query.y).sum(-1)
        if self.bound == "elbo":
            return (posterior.divergence(prior) - fit.mean()) / N
        weight = 0.0 if self.bound == "likelihood" else prior.log_prob(z) - posterior.log_prob(z)
        return (math.log(len(z)) - (fit + weight).logsumexp(0)) / N


class NPState(NamedTuple):
    """Sums over the context for the latent path, and for the deterministic one (empty if there is none)."""

    latent: SetSums
    path: tuple[SetSums, ...]


class NP(LatentProcess):
    """Neural process: a latent vector for each function.

    Args:
        inputs: columns of x.
        targets: columns D of y.
        width: of all hidden layers.
        latent: length of the latent vector; default ``width``.
        depth: linear layers before the mean over the context, after it, and in the decoder.
        deterministic: whether the decoder also reads a code of the context that is not drawn, from an encoder of
            its own.
        draws: of the latent vector in training and otherwise.
        bound: the objective: ``"elbo"``, ``"importance"`` or ``"likelihood"``.
        likelihood: default :class:`~innerloop.Gaussian` with a learned deviation.

    Raises:
        InputError: for sizes, depths or draws below 1, or an unknown bound.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.NP(1, 1, width=32).eval()
        >>> state = learner.adapt(il.Examples(torch.rand(5, 1), torch.rand(5, 1)))
        >>> learner.predict(state, torch.rand(7, 1)).shape, learner.sample(state, torch.rand(7, 1), draws=3).shape
        (torch.Size([50, 7, 2]), torch.Size([3, 7, 1]))

    References:
        Garnelo et al., *Neural Processes*, 2018, https://arxiv.org/abs/1807.01622.
    """

    def __init__(
        self,
        inputs: int,
        targets: int,
        *,
        width: int = 128,
        latent: int | None = None,
        depth: tuple[int, int, int] = (4, 2, 3),
        deterministic: bool = True,
        draws: tuple[int, int] = (4, 50),
        bound: Bound = "elbo",
        likelihood: Likelihood | None = None,
    ) -> None:
        check_count("width", width, 1)
        latent = width if latent is None else latent
        super().__init__(inputs, targets, latent, draws, bound, likelihood)
        of_set: Any = {"width": width, "depth": (depth[0], depth[1])}
        self.encoder = SetEncoder(inputs + targets, 2 * latent, **of_set)
        self.path = SetEncoder(inputs + targets, width, **of_set) if deterministic else None
        codes = (latent, width) if deterministic else (latent,)
        self.decoder = PointDecoder(inputs, codes, self.raws, width=width, depth=depth[2])

    def adapt(self, support: Examples, state: NPState | None = None) -> NPState:  # noqa: D102
        pairs = self.pairs(support)
        latent = self.encoder.sums(pairs).plus(state.latent if state else None)
        path = () if self.path is None else (self.path.sums(pairs).plus(state.path[0] if state else None),)
        return NPState(latent, path)

    def belief(self, state: NPState) -> Normal:  # noqa: D102
        return Normal.of(self.encoder(state.latent))

    def decode(self, state: NPState, z: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        path = () if self.path is None else (self.path(state.path[0]),)
        return self.decoder(x, z.unsqueeze(1), *path)
