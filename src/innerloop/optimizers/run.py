"""A training run as a task: what a learned optimizer learns from."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, grad_and_value
from torch.utils import _pytree as pytree

from innerloop.core import norm
from innerloop.core.inner import InnerOptimizer, Parameters
from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, Task
from innerloop.learners.optimization.gradient import GradientLearner


class Progress(NamedTuple):
    """How far a training has come."""

    parameters: Parameters
    statistics: norm.Statistics
    memory: Any
    """What the rule remembers."""
    step: Tensor
    """Steps taken, int64."""


class TrainingRun(GradientLearner):
    """Trains a network from random weights by an inner rule; what is meta-trained is the rule alone.

    A task is a training problem: the support set is its training data in the order in which minibatches are taken, the
    query set its test data. The outer objective is the mean loss along the run: of each next minibatch, after each
    step. In training mode each task starts from weights of its own, drawn with the mean and deviation of the net's own
    tensors; otherwise from the net's own weights.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        rule: the update rule, such as :class:`~innerloop.optimizers.MLPRule`; several runs may share one.
        steps: inner steps in meta-training.
        batch_size: examples of a minibatch; ``None`` for all.
        truncation: steps after which the outer gradient is cut; ``None`` for none. Memory grows with it.
        test_steps: inner steps otherwise; default ``steps``.
        emphasis: the loss after step t counts ``(t / steps) ** emphasis``: 0 for how fast the loss falls, more for how
            low it ends.
        first_order: take the inner gradients for constants.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for squared error.

    Example:
        >>> import innerloop as il
        >>> run = il.optimizers.TrainingRun(il.nets.mlp(8, 16, 3), il.optimizers.MLPRule(), steps=5, batch_size=10)
        >>> problems = il.optimizers.Teachers(inputs=8, classes=3, examples=50)
        >>> il.lift(run, "vmap").loss(problems.draw(torch.Generator(), 4)).shape
        torch.Size([4])
    """

    def __init__(
        self,
        net: nn.Module,
        rule: InnerOptimizer,
        *,
        steps: int,
        batch_size: int | None = None,
        truncation: int | None = None,
        test_steps: int | None = None,
        emphasis: float = 0.0,
        first_order: bool = False,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(
            net,
            inner=rule,
            steps=steps,
            test_steps=test_steps,
            first_order=first_order,
            batch_size=batch_size,
            likelihood=likelihood,
        )
        check_count("truncation", truncation, 1, optional=True)
        check_number("the emphasis", emphasis, "[0, inf)")
        self.truncation, self.emphasis = truncation, emphasis
        net.requires_grad_(False)

    def weights(self) -> Parameters:
        """The weights that a training starts from: random ones in training mode, otherwise the net's own."""
        own: Parameters = dict(self.net.named_parameters())
        if not self.training:
            return own
        draws = {k: torch.randn(p.shape, dtype=p.dtype, device=p.device) for k, p in own.items()}
        return {k: p.mean() + p.std(correction=0) * draws[k] for k, p in own.items()}

    def begin(self, parameters: Parameters) -> Progress:
        """The start of a training from ``parameters``."""
        step = torch.zeros((), dtype=torch.int64, device=next(self.net.parameters()).device)
        return Progress(parameters, [], self.inner.init(parameters), step)

    def forward(self, support: Examples, at: Progress, steps: int) -> tuple[Progress, Tensor]:
        """Some steps of training.

        Args:
            support: the training data.
            at: where to go on.
            steps: how many.

        Returns:
            how far it has come then, and the loss of the next minibatch before the first step and after each,
            ``[steps + 1]``.
        """
        parameters, statistics, memory, step = at
        losses = []
        for _ in range(steps):
            gradients, loss = self._slope(parameters, self._minibatch(support, step))
            parameters, memory = self.inner.update(gradients, parameters, self.inner.told(loss, memory))
            step = step + 1
            losses.append(loss)
        losses.append(self._loss(parameters, self._minibatch(support, step)))
        return Progress(parameters, statistics, memory, step), torch.stack(losses)

    def adapt(self, support: Examples, state: Progress | None = None) -> Progress:  # type: ignore[override]  # noqa: D102
        at, _ = self(support, state or self.begin(self.weights()), self.steps if self.training else self.test_steps)
        return at._replace(statistics=self.statistics_of(at.parameters, support))

    def loss(self, task: Task) -> Tensor:  # noqa: D102
        at, total = self.begin(self.weights()), task.support.x.new_zeros(())
        window = self.truncation or self.steps
        for first in range(0, self.steps, window):
            at = pytree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, at)
            at, losses = self(task.support, at, min(window, self.steps - first))
            total = total + self.share(losses, at.step)
        return total

    def share(self, losses: Tensor, step: Tensor) -> Tensor:
        """What a window adds to the outer objective of its run.

        Args:
            losses: of the window, ``[window + 1]``, as :meth:`forward` gives them.
            step: steps taken at the window's end.
        """
        ages = torch.arange(1, self.steps + 1, dtype=losses.dtype, device=losses.device) / self.steps
        weights = ages**self.emphasis / (ages**self.emphasis).sum()
        count = len(losses) - 1
        return (weights[step - count + torch.arange(count, device=step.device)] * losses[1:]).sum()

    def _loss(self, parameters: Parameters, batch: Examples) -> Tensor:
        return self.likelihood.nll(self.raw(parameters, batch.x), batch.y).mean()

    def _slope(self, parameters: Parameters, batch: Examples) -> tuple[Parameters, Tensor]:
        """The gradient of a minibatch's loss, and that loss."""
        if self.first_order:
            # The loss itself still depends on the parameters, the gradient does not.
            constants = {k: p.detach() for k, p in parameters.items()}
            return grad(self._loss)(constants, batch), self._loss(parameters, batch)
        return grad_and_value(self._loss)(parameters, batch)

    def _minibatch(self, support: Examples, step: Tensor) -> Examples:
        """The minibatch of a step: by a tensor, since under PES each run of a batch of runs is at a step of its own."""
        size, total = self.batch_size, support.x.shape[0]
        if size is None or size >= total:
            return support
        rows = (step * size + torch.arange(size, device=step.device)) % (total - total % size)
        return Examples(support.x[rows], support.y[rows])
