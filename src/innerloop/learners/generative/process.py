"""What neural processes share: sizes, a decoder, and predictions that hang together from point to point."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from innerloop.core.facts import Facts, Networks
from innerloop.core.learner import Learner
from innerloop.core.likelihood import Gaussian, Likelihood
from innerloop.core.numbers import check_count
from innerloop.core.task import Examples, InputError
from innerloop.nets.mlp import mlp


class NeuralProcess(Learner):
    """A learner that maps a context set and a point to a distribution, with one network for all tasks.

    Args:
        inputs: columns of x.
        targets: columns D of y.
        likelihood: default :class:`~innerloop.Gaussian` with a learned deviation.

    Raises:
        InputError: for sizes below 1.
    """

    objectives = ("regression",)

    def __init__(self, inputs: int, targets: int, likelihood: Likelihood | None = None) -> None:
        super().__init__(likelihood or Gaussian())
        check_count("inputs", inputs, 1)
        check_count("targets", targets, 1)
        self.inputs, self.targets = inputs, targets

    @classmethod
    def from_facts(cls, facts: Facts, nets: Networks, **options: Any) -> Self:
        """A process of as many input and target columns as its tasks have.

        Raises:
            InputError: for examples that are no vectors.
        """
        if len(facts.shape) != 1:
            raise InputError(f"a process is for vectors, these examples are {facts.kind} of shape {facts.shape}")
        return cls(inputs=facts.shape[0], targets=facts.targets, **options)  # type: ignore[call-arg]

    @property
    def raws(self) -> int:
        """P, the raw numbers of a point."""
        return self.likelihood.size(self.targets)

    def pairs(self, examples: Examples) -> Tensor:
        """Inputs and targets side by side, ``[N, inputs + D]``."""
        x, y = examples
        if x.shape[1:] != (self.inputs,) or y.shape[1:] != (self.targets,):
            raise InputError(
                f"examples of x {tuple(x.shape)} and y {tuple(y.shape)} met a process of {self.inputs} inputs and "
                f"{self.targets} targets: x must be [N, {self.inputs}] and y [N, {self.targets}]"
            )
        return torch.cat((x, y), 1)

    def extra_repr(self) -> str:  # noqa: D102
        return f"inputs={self.inputs}, targets={self.targets}"


class PointDecoder(nn.Module):
    """From a point and codes to the raw numbers of the likelihood.

    The first layer of a perceptron on all of them, side by side, is a sum of one map of each; so a code that all points
    share is mapped once and not at each point.

    Args:
        inputs: columns of x.
        codes: length of each code.
        out: P, the raw numbers of a point.
        width: of the hidden layers.
        depth: linear layers.

    Raises:
        InputError: for a depth below 2.
    """

    def __init__(self, inputs: int, codes: tuple[int, ...], out: int, *, width: int, depth: int) -> None:
        super().__init__()
        check_count("width", width, 1)
        check_count("depth, the layers of the decoder,", depth, 2)
        self.of_x = nn.Linear(inputs, width)
        self.of_codes = nn.ModuleList(nn.Linear(code, width, bias=False) for code in codes)
        self.rest = mlp(*(width,) * (depth - 1), out, activation=nn.SiLU)

    def forward(self, x: Tensor, *codes: Tensor) -> Tensor:
        """``[N, inputs]`` and codes ``[code]``, ``[N, code]`` or ``[S, 1, code]`` to ``[(S,) N, P]``."""
        # The codes first: those that all points share meet before they meet the points.
        hidden = sum(of_code(code) for of_code, code in zip(self.of_codes, codes, strict=True))
        return self.rest(F.silu(self.of_x(x) + hidden))


@torch.no_grad()
def autoregressive(
    learner: Learner,
    support: Examples,
    x: Tensor,
    *,
    samples: int = 1,
    order: Tensor | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Functions that hang together, from a learner that predicts each point by itself.

    Points are drawn one after the other, and each that was drawn joins the context of the next.

    Args:
        learner: any regression learner with a Gaussian likelihood, in evaluation mode.
        support: the task's support set.
        x: where to draw the functions, ``[N, *F]``.
        samples: number of functions.
        order: of the points, int64 ``[N]``; default as they come. A random order does the chain more justice.
        generator: for the draws.

    Returns:
        ``[samples, N, D]``, the points in the order of ``x``.

    Raises:
        InputError: for a likelihood that is not Gaussian.

    Example:
        >>> import torch, innerloop as il
        >>> support = il.Examples(torch.rand(5, 1), torch.rand(5, 1))
        >>> autoregressive(il.CNP(1, 1, width=16).eval(), support, torch.rand(7, 1), samples=3).shape
        torch.Size([3, 7, 1])

    References:
        Bruinsma et al., *Autoregressive Conditional Neural Processes*, ICLR 2023, https://arxiv.org/abs/2303.14468.
    """
    likelihood = learner.likelihood
    if not isinstance(likelihood, Gaussian):
        raise InputError(f"draws point by point need a Gaussian likelihood, not {type(likelihood).__name__}")

    def next_point(known: Tensor, drawn: Tensor, point: Tensor) -> Tensor:
        return learner.predict(learner.adapt(Examples(known, drawn)), point)

    known, drawn = support.x, support.y.expand(samples, *support.y.shape)
    places = range(len(x)) if order is None else order.tolist()
    # The inputs are the same in all functions, only the targets differ.
    step = torch.func.vmap(next_point, in_dims=(None, 0, None), randomness="different")
    for i in places:
        raw = step(known, drawn, x[i : i + 1])
        which = torch.randint(raw.shape[1], (samples,), generator=generator, device=raw.device)
        mean, scale = likelihood.parameters_of(raw[torch.arange(samples, device=raw.device), which])
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        known, drawn = torch.cat((known, x[i : i + 1])), torch.cat((drawn, mean + scale * noise), 1)
    points = drawn[:, len(support.y) :]
    return points if order is None else points[:, order.argsort()]


def log_likelihood(learner: Learner, support: Examples, query: Examples, order: Tensor | None = None) -> Tensor:
    """The joint log likelihood of the queries by the chain rule: each one given the support set and those before it.

    Args:
        learner: one that folds: it takes more examples into a state.
        support: the task's support set.
        query: ``N`` points with their targets.
        order: of the queries, int64 ``[N]``; default as they come.

    Returns:
        the terms, in nats, in the order of ``query``: ``[N]``. Their sum is the joint log likelihood.

    Example:
        >>> import torch, innerloop as il
        >>> support, query = (il.Examples(torch.rand(n, 1), torch.rand(n, 1)) for n in (5, 3))
        >>> log_likelihood(il.CNP(1, 1, width=16).eval(), support, query).shape
        torch.Size([3])

    References:
        Bruinsma et al., *Autoregressive Conditional Neural Processes*, ICLR 2023, https://arxiv.org/abs/2303.14468.
    """
    places = list(range(len(query.x))) if order is None else order.tolist()
    state, terms = learner.adapt(support), {}
    for i in places:
        point = Examples(query.x[i : i + 1], query.y[i : i + 1])
        terms[i] = -learner.likelihood.nll(learner.predict(state, point.x), point.y)
        state = learner.adapt(point, state)
    return torch.cat([terms[i] for i in range(len(places))])
