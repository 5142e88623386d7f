"""Rotation prediction (Gidaris, Singh, Komodakis, ICLR 2018, https://arxiv.org/abs/1803.07728).

Pre-training without labels: turn each image by 0, 90, 180 and 270 degrees and train a classifier to tell which turn it
was given, for which the encoder has to see what is in the image. Choose it for photographs whose labels are missing;
not where turned images are classes of their own, or look the same.
"""

from __future__ import annotations

from typing import Unpack

from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.heads.linear import Fitting, LinearHead


class TurnHead(LinearHead):
    """A linear classifier of four quarter turns, a new one for each task.

    Args:
        features: H, numbers in a feature vector; default the encoder's.
    """

    def __init__(self, *, features: int | None = None, **fitting: Unpack[Fitting]) -> None:
        super().__init__(classes=4, features=features, **fitting)


class Rotation(Embedded[TurnHead]):
    """A classifier of four quarter turns, then a new head on the support set.

    Meta-train it on :class:`innerloop.data.Turned`; it is evaluated on episodes like every learner, and its encoder
    goes into any other.

    Args:
        encoder: any module ``[N, C, S, S] -> [N, H]``.

    Example:
        >>> import innerloop as il
        >>> il.learners.Rotation(il.nets.conv4()).head.classifier
        Linear(in_features=64, out_features=4, bias=True)

    References:
        Gidaris, Singh, Komodakis, *Unsupervised Representation Learning by Predicting Image Rotations*, ICLR 2018,
        https://arxiv.org/abs/1803.07728.
    """

    @composed(TurnHead)
    def __init__(self) -> None: ...
