"""What is followed in an outer step: the gradient of the tasks' losses, averaged, summed, aggregated or weighted."""

from __future__ import annotations

import torch

from innerloop.core.lifting import Lifted
from innerloop.core.task import Task
from innerloop.data.episodes import Sampler
from innerloop.training import ranks
from innerloop.training.aggregate import backward_aggregated, backward_weighted, make_aggregator, make_weighting
from innerloop.training.settings import Settings


class Objective:
    """The outer objective of a run.

    Args:
        lifted: the learner.
        sampler: whose tasks it is trained on.
        settings: how the tasks' losses become one.
        device: where the learner is.

    Raises:
        InputError: for an aggregation that cannot work on these tasks, or that the ranks cannot share.
    """

    def __init__(self, lifted: Lifted, sampler: Sampler, settings: Settings, device: torch.device) -> None:
        self.lifted, self.tasks, self.reduction = lifted, settings.tasks_per_step, settings.reduction
        likelihood = lifted.learner.likelihood
        self._combine = make_aggregator(settings.aggregate, self.tasks)
        weights = make_weighting(settings.weighting, sampler, self.tasks, likelihood)
        #: The weighting of known tasks, a module, where there is one.
        self.weights = weights.to(device) if weights is not None else None
        ranks.begin(lifted, self.tasks, self._combine is not None)

    def backward(self, tasks: Task) -> float:
        """Add the gradient to the parameters' ``.grad``, from each rank's tasks that of all; the loss of all tasks."""
        if self._combine is not None:
            losses = backward_aggregated(self.lifted, tasks, self._combine, self.tasks)
        elif self.weights is not None:
            losses = backward_weighted(self.lifted, tasks, self.weights, self.tasks)
        else:
            losses = ranks.backward(self.lifted, tasks, self.tasks, self.reduction)
        return float(losses.mean() if self.reduction == "mean" else losses.sum())
