"""The fine-tuned baseline (Chen et al., ICLR 2019, https://arxiv.org/abs/1904.04232).

Train an ordinary classifier on all meta-training classes; for a new task keep its features and fit a new linear head on
the support set. The comparison that keeps meta-learners honest, and hard to beat under a large domain shift.
"""

from __future__ import annotations

from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.heads.linear import LinearHead


class FineTune(Embedded[LinearHead]):
    """A classifier over all meta-training classes, then a new head on the support set.

    Meta-train it on :class:`innerloop.data.Batches`; it is evaluated on episodes like every learner.

    Example:
        >>> import innerloop as il
        >>> il.FineTune(il.nets.conv4(), classes=64).head.classifier
        Linear(in_features=64, out_features=64, bias=True)

    References:
        Chen et al., *A Closer Look at Few-shot Classification*, ICLR 2019, https://arxiv.org/abs/1904.04232.
    """

    @composed(LinearHead)
    def __init__(self) -> None: ...
