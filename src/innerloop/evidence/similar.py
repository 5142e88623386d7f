"""How near queries are to examples, in a learner's own features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.learner import Learner
from innerloop.learners.generative.pfn import InContext
from innerloop.learners.head import Head
from innerloop.learners.heads.gaussian import GaussianClasses
from innerloop.learners.heads.scaled import Scaled
from innerloop.learners.optimization.gradient import GradientLearner

Floats = npt.NDArray[np.float64]


def likeness(learner: Learner, known: Tensor, x: Tensor) -> Floats:
    """How near queries ``[Q, *F]`` are to examples ``[N, *F]`` in what a learner sees of them: ``[Q, N]``.

    Cosines, for heads on features of unit length, and of the last hidden layer of a network that adapts by gradient
    steps, once it has adapted; minus Euclidean distances for others, and on tables (columns standardized by the
    examples, a gap is the mean).

    Example:
        >>> import innerloop as il
        >>> head = il.learners.Prototypes(distance="cosine")
        >>> likeness(head, torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0]]))
        array([[1., 0.]])
    """
    adapts = isinstance(learner, GradientLearner)
    known, x = (part.detach().cpu().flatten(1).double() for part in (known, x))
    parts, power = getattr(learner, "parts", None), getattr(learner, "power", 1.0)
    if parts:
        # Parts without shares of their own, whose mix the examples choose, count alike here.
        shares = [(start, stop, *(rest or (1 / len(parts),))) for start, stop, *rest in parts]
        known, x = (
            torch.cat(
                [
                    share**0.5 * F.normalize(z.sign()[:, start:stop] * z.abs()[:, start:stop] ** power, dim=1)
                    for start, stop, share in shares
                ],
                1,
            )
            for z in (known, x)
        )
    if isinstance(learner, Scaled | InContext) or not bool(known.isfinite().all() and x.isfinite().all()):
        mean = known.nanmean(0).nan_to_num()
        spread = (known - mean).square().nanmean(0).sqrt().nan_to_num()
        spread = torch.where(spread > 0, spread, 1)
        known, x = (((part - mean) / spread).nan_to_num() for part in (known, x))
    elif adapts or (
        isinstance(learner, Head)
        and getattr(learner, "distance", "cosine") == "cosine"
        and getattr(learner, "normalize", True)
        and not isinstance(learner, GaussianClasses)
    ):
        found: Floats = (F.normalize(x, dim=1) @ F.normalize(known, dim=1).mT).numpy()
        return found
    apart: Floats = -torch.cdist(x, known, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    return apart


def nearness(near: Floats) -> Floats:
    """Minus distances ``[Q, N]`` as shares between 0 and 1, in units of their mean.

    Example:
        >>> nearness(np.array([[0.0, -2.0]])).round(3).tolist()
        [[1.0, 0.135]]
    """
    found: Floats = np.exp(near / max(1e-30, -float(near.mean())))
    return found
