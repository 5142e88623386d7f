"""Prototypical Networks (Snell, Swersky, Zemel, NeurIPS 2017, https://arxiv.org/abs/1703.05175).

Each class is the mean of its support features, its prototype; a query belongs to the nearest one. The first thing to
try: nothing is tuned at test time, more examples are folded in exactly, and it trains fastest with many ways.
"""

from __future__ import annotations

from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.heads.prototypes import Prototypes


class ProtoNet(Embedded[Prototypes]):
    """Prototypical network: class means in a learned feature space, and a distance to them.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.ProtoNet(il.nets.conv4())
        >>> support = il.Examples(torch.rand(5, 1, 28, 28), torch.eye(5))
        >>> learner.predict(learner.adapt(support), torch.rand(7, 1, 28, 28)).shape
        torch.Size([1, 7, 5])

    References:
        Snell, Swersky, Zemel, *Prototypical Networks for Few-shot Learning*, NeurIPS 2017,
        https://arxiv.org/abs/1703.05175.
    """

    @composed(Prototypes)
    def __init__(self) -> None: ...
