"""Rotation prediction (Gidaris, Singh, Komodakis, ICLR 2018, https://arxiv.org/abs/1803.07728).

Pre-training without labels: turn each image by 0, 90, 180 and 270 degrees and train a classifier to tell which turn it
was given, for which the encoder has to see what is in the image. Choose it for photographs whose labels are missing;
not where turned images are classes of their own, or look the same.
"""

from __future__ import annotations

from torch import nn

from innerloop.core.likelihood import Likelihood
from innerloop.learners.transfer.finetune import FineTune


class Rotation(FineTune):
    """A classifier of four quarter turns, then a new head on the support set.

    Meta-train it on :class:`innerloop.data.Turned`; it is evaluated on episodes like every learner, and its encoder
    goes into any other.

    Args:
        encoder: any module ``[N, C, S, S] -> [N, H]``.
        features: H; default ``encoder.features``.
        steps: gradient steps that fit a task's head.
        lr: their learning rate, on features of unit length.
        weight_decay: pulls a task's weights to 0.
        likelihood: default :class:`~innerloop.Categorical`.

    Example:
        >>> import innerloop as il
        >>> il.Rotation(il.nets.conv4()).head.classifier
        Linear(in_features=64, out_features=4, bias=True)

    References:
        Gidaris, Singh, Komodakis, *Unsupervised Representation Learning by Predicting Image Rotations*, ICLR 2018,
        https://arxiv.org/abs/1803.07728.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        features: int | None = None,
        steps: int = 100,
        lr: float = 1.0,
        weight_decay: float = 1e-3,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(
            encoder,
            classes=4,
            features=features,
            steps=steps,
            lr=lr,
            weight_decay=weight_decay,
            likelihood=likelihood,
        )
