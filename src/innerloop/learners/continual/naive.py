"""Naive fine-tuning: gradient steps on each batch as it comes.

The baseline that forgets: nothing protects what earlier batches taught. Every other continual learner is judged by what
it gains on this one.
"""

from __future__ import annotations

from innerloop.core.task import Examples
from innerloop.learners.continual.online import OnlineLearner, OnlineState


class Naive(OnlineLearner):
    """Gradient steps on each batch, and nothing else.

    Example:
        >>> import torch, innerloop as il
        >>> naive = il.learners.Naive(torch.nn.Linear(3, 2), lr=0.1)
        >>> state = naive.adapt(il.Examples(torch.ones(4, 3), torch.eye(2)[[0, 0, 1, 1]]))
        >>> naive.predict(state, torch.ones(5, 3)).shape
        torch.Size([1, 5, 2])
    """

    def adapt(self, batch: Examples, state: OnlineState | None = None) -> OnlineState:  # noqa: D102
        parameters = state.parameters if state else self.start()
        for _ in range(self.glances):
            parameters = self.descend(parameters, self.gradient(parameters, batch))
        return OnlineState(parameters)
