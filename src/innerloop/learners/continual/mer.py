"""Meta-experience replay (Riemer et al., ICLR 2019, https://arxiv.org/abs/1810.11910).

Replay whose steps are taken one example at a time, and then taken back in part: Reptile within each pass over the batch
and again over the passes, which aligns the gradients of examples. Choose it for its accuracy where one example at a
time is affordable; it costs more steps than any other learner here.
"""

from __future__ import annotations

from typing import Unpack

from torch import Generator, nn

from innerloop.core.inner import Parameters
from innerloop.core.numbers import check_number
from innerloop.core.task import Examples, join
from innerloop.learners.continual.online import Memory, Replay, ReplayLearner, ReplayState, permutation


class MER(ReplayLearner):
    """Experience replay, example by example, within two levels of Reptile (the paper's algorithm 6, for batches).

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        within: how much of the way of one pass is kept (beta).
        across: how much of the way of all passes is kept (gamma).
        lr: learning rate of the single steps.
        glances: passes over each batch, each with another draw and another order.

    Example:
        >>> import torch, innerloop as il
        >>> il.learners.MER(torch.nn.Linear(3, 2), within=0.3).across
        1.0

    References:
        Riemer et al., *Learning to Learn without Forgetting by Maximizing Transfer and Minimizing Interference*,
        ICLR 2019, https://arxiv.org/abs/1810.11910.
    """

    def __init__(self, net: nn.Module, *, within: float = 0.3, across: float = 1.0, **options: Unpack[Replay]) -> None:
        super().__init__(net, **options)
        for name, value in (("within", within), ("across", across)):
            check_number(name, value, "(0, 1]")
        self.within, self.across = within, across

    def adapt(self, batch: Examples, state: ReplayState | None = None) -> ReplayState:  # noqa: D102
        state = state or ReplayState(self.start(), Memory.empty(self.memory, batch))
        generator, theta = self.generator(state.memory.seen), state.parameters
        for _ in range(self.glances):
            seen = join(state.memory.draw(self.replay, generator), batch)
            theta = _towards(theta, self._pass(theta, seen, generator), self.within)
        return ReplayState(_towards(state.parameters, theta, self.across), state.memory.offer(batch, generator))

    def _pass(self, theta: Parameters, seen: Examples, generator: Generator) -> Parameters:
        """A step on each example, in random order."""
        for i in permutation(len(seen.x), generator).tolist():
            theta = self.descend(theta, self.gradient(theta, Examples(seen.x[i : i + 1], seen.y[i : i + 1])))
        return theta


def _towards(start: Parameters, end: Parameters, share: float) -> Parameters:
    """Reptile: a share of the way."""
    return {name: p + share * (end[name] - p) for name, p in start.items()}
