"""Contrastive pre-training, SimCLR (Chen, Kornblith, Norouzi, Hinton, ICML 2020, https://arxiv.org/abs/2002.05709).

Pre-training without labels: of each image two views are drawn, and each view has to find its partner among the views of
all images of the batch, after a small projection that is then thrown away. Choose it where labels are missing and it is
known which changes leave a class what it is: the augmentation says so.
"""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch.nn import functional as F

from innerloop.core.numbers import check_number
from innerloop.core.task import InputError, Task
from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.head import required
from innerloop.learners.heads.linear import Fitting, SoftmaxRegression
from innerloop.nets.mlp import mlp


class ContrastiveHead(SoftmaxRegression):
    """The projection and its loss, NT-Xent; a linear classifier on the features for each task.

    Args:
        features: H, numbers in a feature vector; default the encoder's.
        projection: numbers in a projected vector.
        temperature: the logits are cosines divided by it.

    Raises:
        InputError: for a temperature that is not positive, or if nobody says the size of the features.
    """

    def __init__(
        self,
        *,
        features: int | None = None,
        projection: int = 64,
        temperature: float = 0.5,
        **fitting: Unpack[Fitting],
    ) -> None:
        super().__init__(**fitting)
        check_number("the temperature", temperature, "(0, inf)")
        size = required(features, self)
        self.project, self.temperature = mlp(size, size, projection), temperature

    def loss(self, task: Task) -> torch.Tensor:
        """Cross-entropy of each view's partner among all other views; the targets play no part."""
        (one, _), (other, _) = task
        if one.shape != other.shape:
            raise InputError(
                f"the views have shapes {tuple(one.shape)} and {tuple(other.shape)}; each image needs one in the "
                f"support and one in the query set: train Contrastive on data.Views(pool, ...)"
            )
        z = F.normalize(self.project(torch.cat((one, other)).flatten(1)), dim=1)
        views = torch.arange(len(z), device=z.device)
        itself = views.unsqueeze(1) == views
        logits = (z @ z.mT / self.temperature).masked_fill(itself, -math.inf)
        return F.cross_entropy(logits, views.roll(len(one)))


class Contrastive(Embedded[ContrastiveHead]):
    """Two views of an image lie close, those of others apart; then a new head on the support set.

    Meta-train it on :class:`innerloop.data.Views`; it is evaluated on episodes like every learner, and its encoder goes
    into any other.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.Contrastive(il.nets.conv4())
        >>> views = [il.Examples(torch.rand(8, 1, 28, 28), torch.eye(8)) for _ in range(2)]
        >>> il.lift(learner, "loop").loss(il.Task(*(il.Examples(v.x[None], v.y[None]) for v in views))).shape
        torch.Size([1])

    References:
        Chen, Kornblith, Norouzi, Hinton, *A Simple Framework for Contrastive Learning of Visual Representations*, ICML
        2020, https://arxiv.org/abs/2002.05709.
    """

    @composed(ContrastiveHead)
    def __init__(self) -> None: ...
