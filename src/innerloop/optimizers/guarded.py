"""A learned rule under guard: where the loss falls no longer, an optimizer that is known to be sound goes on.

After the idea of Premont-Schwarz, Vitku, Feyereisl, *A Simple Guard for Learned Optimizers*, ICML 2022,
https://arxiv.org/abs/2201.12426, in a cheaper form: what is watched is the loss that a training sees anyway, so no
gradient is taken twice.
"""

from __future__ import annotations

from typing import Any, TypedDict

import torch
from torch import Tensor

from innerloop.core.inner import InnerOptimizer, Parameters, decay
from innerloop.core.numbers import check_count, check_number


class Watch(TypedDict):
    """What is remembered of a training, beside what the two rules remember."""

    rule: Any
    fallback: Any
    mean: Tensor
    """Running mean of the loss."""
    best: Tensor
    """The lowest that it was when it last fell by enough."""
    waited: Tensor
    """Steps since then."""
    fallen: Tensor
    """Whether the fallback has taken over: it stays."""


class Guarded(InnerOptimizer):
    """A rule that hands over to another for good, once the loss has not fallen for some steps or is not finite.

    The other sees every gradient from the start, so that its running means are warm when it takes over. The loss has to
    be told (:meth:`told`): by a :class:`~innerloop.optimizers.TrainingRun`, or by the closure of
    :class:`~innerloop.optimizers.LearnedOptimizer`.

    Args:
        rule: that is guarded.
        fallback: what goes on, such as ``inner.Adam`` with a rate that is known to be good.
        patience: steps without progress.
        least: progress is a running mean of the loss lower by this share of the best so far.
        smoothing: decay of that running mean, over minibatches.

    Raises:
        InputError: for a patience below 1 step, a share outside 0 to 1, or a decay that is none.

    Example:
        >>> import innerloop as il
        >>> from innerloop.core.inner import SGD
        >>> guarded = Guarded(SGD(lr=100.0), SGD(lr=0.1), patience=1, smoothing=0.0)
        >>> w = {"w": torch.tensor([1.0])}
        >>> memory = guarded.init(w)
        >>> for loss in (1.0, 5.0):
        ...     memory = guarded.told(torch.tensor(loss), memory)
        >>> guarded.update({"w": torch.tensor([1.0])}, w, memory)[0]
        {'w': tensor([0.9000])}
    """

    def __init__(
        self,
        rule: InnerOptimizer,
        fallback: InnerOptimizer,
        patience: int = 30,
        least: float = 0.02,
        smoothing: float = 0.9,
    ) -> None:
        super().__init__()
        check_count("patience", patience, 1)
        check_number("least", least, "[0, 1)")
        decay("smoothing", smoothing)
        self.rule, self.fallback = rule, fallback
        self.patience, self.least, self.smoothing = patience, least, smoothing

    def init(self, parameters: Parameters) -> Watch:  # noqa: D102
        like = next(iter(parameters.values()))
        none = like.new_zeros((), dtype=torch.float32)
        return {
            "rule": self.rule.init(parameters),
            "fallback": self.fallback.init(parameters),
            "mean": none + torch.inf,
            "best": none + torch.inf,
            "waited": none,
            "fallen": torch.zeros((), dtype=torch.bool, device=like.device),
        }

    def told(self, loss: Tensor, memory: Watch) -> Watch:  # noqa: D102
        before, best = memory["mean"], memory["best"]
        now = loss.detach().to(before)
        mean = torch.where(before.isinf(), now, self.smoothing * before + (1 - self.smoothing) * now)
        better = mean < (1 - self.least) * best
        waited = torch.where(better, torch.zeros_like(now), memory["waited"] + 1)
        fallen = memory["fallen"] | (waited >= self.patience) | ~now.isfinite()
        watched: Watch = {
            **memory,
            "mean": mean,
            "best": torch.where(better, mean, best),
            "waited": waited,
            "fallen": fallen,
        }
        return watched

    def update(self, gradients: Parameters, parameters: Parameters, memory: Watch) -> tuple[Parameters, Watch]:  # noqa: D102
        one, rule = self.rule.update(gradients, parameters, memory["rule"])
        other, fallback = self.fallback.update(gradients, parameters, memory["fallback"])
        new = {k: torch.where(memory["fallen"], other[k], one[k]) for k in parameters}
        return new, {**memory, "rule": rule, "fallback": fallback}
