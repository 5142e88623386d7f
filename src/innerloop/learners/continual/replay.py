"""Experience replay (Chaudhry et al., 2019, https://arxiv.org/abs/1902.10486).

A small memory holds a random sample of all that was seen; every step learns from the new batch and from a few
remembered examples together. The strong and simple baseline: try it before anything cleverer, wherever examples may be
kept.
"""

from __future__ import annotations

from innerloop.learners.continual.online import ReplayLearner


class ExperienceReplay(ReplayLearner):
    """Each step on the new batch and on a draw from a reservoir of earlier examples.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.ExperienceReplay(torch.nn.Linear(3, 2), memory=4)
        >>> state = learner.adapt(il.Examples(torch.rand(6, 3), torch.eye(2).repeat(3, 1)))
        >>> int(state.memory.seen), state.memory.x.shape
        (6, torch.Size([4, 3]))

    References:
        Chaudhry et al., *On Tiny Episodic Memories in Continual Learning*, 2019, https://arxiv.org/abs/1902.10486.
    """
