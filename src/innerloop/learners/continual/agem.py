"""A-GEM (Chaudhry et al., ICLR 2019, https://arxiv.org/abs/1812.00420).

The gradient of the new batch, less the part that would raise the loss on remembered examples. It costs two gradients a
step; choose it where a step must not undo the past but need not rehearse it. Replay is usually more accurate.
"""

from __future__ import annotations

from innerloop.core.inner import Parameters
from innerloop.core.task import Examples
from innerloop.learners.continual.online import ReplayLearner


def project(gradient: Parameters, reference: Parameters) -> Parameters:
    """The nearest gradient that does not point against ``reference``: g - (g.r / r.r) r where g.r < 0, else g.

    Example:
        >>> project({"w": torch.tensor([1.0, -1.0])}, {"w": torch.tensor([0.0, 2.0])})
        {'w': tensor([1., 0.])}
    """
    along = sum((gradient[name] * r).sum() for name, r in reference.items())
    square = sum((r * r).sum() for r in reference.values())
    # Where the reference is zero there is nothing to point against.
    factor = (along / (square + (square == 0))).clamp(max=0)  # type: ignore[union-attr]
    return {name: g - factor * reference[name] for name, g in gradient.items()}


class AGEM(ReplayLearner):
    """Averaged gradient episodic memory: the batch's gradient, projected so that the memory's loss does not rise.

    The memory is a reservoir of all that was seen; the paper keeps equally many examples of each task, which needs to
    be told where tasks end.

    Args:
        replay: how many examples of the memory give the reference gradient.

    Example:
        >>> import torch, innerloop as il
        >>> il.learners.AGEM(torch.nn.Linear(3, 2), memory=100).replay
        10

    References:
        Chaudhry et al., *Efficient Lifelong Learning with A-GEM*, ICLR 2019, https://arxiv.org/abs/1812.00420.
    """

    def step(self, parameters: Parameters, batch: Examples, replayed: Examples) -> Parameters:  # noqa: D102
        gradient = self.gradient(parameters, batch)
        if len(replayed.x):
            gradient = project(gradient, self.gradient(parameters, replayed))
        return self.descend(parameters, gradient)
