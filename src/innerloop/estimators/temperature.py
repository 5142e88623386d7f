"""What the logits of few examples are divided by, so that probabilities mean something.

A temperature has one number to find, and leave-one-out on ten examples still says little of it: where none is wrong it
would be sure, where a class lacks half of what is known it would despair, and single examples say nothing. So it starts
from what the head's temperatures were elsewhere (``benchmarks/knowing.py temperature``: half of the classes of
photographs and of two sets of sentences, digits, short tables), in units of how far apart the head's logits are on
the examples themselves, and moves as far as the examples have the weight to move it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innerloop.core.learner import State
from innerloop.core.task import Examples
from innerloop.learners.head import Head
from innerloop.learners.heads.block import MixedRidge
from innerloop.learners.heads.gaussian import GaussianClasses
from innerloop.learners.heads.logistic import LogisticRegression
from innerloop.learners.heads.nearest import NearestNeighbor
from innerloop.learners.heads.primed import Primed
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.learners.heads.ridge import Ridge

#: By head: the logarithm of its temperature in units of :func:`spread` is a constant, so much for the logarithm of the
#: classes, for 1 / shots, and where features are few.
EXPECTED = {
    "depths": (-1.66, -0.27, -0.09, 0.0),
    "ridge": (-1.10, -0.39, -0.21, 1.21),
    "prototypes": (-1.39, -0.38, 0.0, 1.26),
    "gaussian": (-1.45, -0.39, 0.12, 1.20),
    "prototypes-euclidean": (-1.38, -0.39, 0.05, 1.16),
    "nearest": (-1.78, -0.36, 0.36, 1.41),
    "nearest-euclidean": (-1.82, -0.36, 0.40, 1.25),
    "logistic": (-1.27, -0.36, -0.17, 1.34),
}
#: Features from which on a vector is taken for one of an encoder.
LONG = 64
#: What half the squared distance to that counts beside the summed log loss of the examples left out. The fit would have
#: it larger (10), but it knows the sources already.
STRENGTH = 4.0
#: Leave-one-out has to be read at a temperature so much higher, in units of 1 / shots, on a logarithmic scale: it lacks
#: one of the examples of the class that it asks for.
SURER = 1.0
#: Examples whose own logits are looked at, and numbers that a head holds at a time for it, roughly.
_LOOKED_AT, _AT_ONCE = 64, 2**24


def temperature(head: Head, support: Examples, raw: Tensor | None = None, y: Tensor | None = None) -> float:
    """What the logits of a head that has learned the examples are divided by.

    Of heads that are not known by their kind, among them those that were meta-trained to give probabilities, it is
    expected to be 1.

    Args:
        head: in evaluation mode.
        support: features ``[N, H]``, one-hot rows ``[N, D]``.
        raw: logits of examples left out, ``[R, D]``; none where each class has one.
        y: their one-hot rows, ``[R, D]``.

    Example:
        >>> support = Examples(torch.eye(2), torch.eye(2))
        >>> round(temperature(Prototypes(scale=3.0), support) / temperature(Prototypes(), support), 4)
        3.0
    """
    from scipy.optimize import minimize_scalar

    with torch.no_grad():
        unit = spread(head, head.adapt(support), support)
    if not (np.isfinite(unit) and unit > 0):
        return 1.0
    examples, classes = support.y.shape
    if isinstance(head, Primed):
        examples += len(head.y)
    scarcity = classes / examples
    values = EXPECTED.get(_kind(head))
    center = (
        float(np.log(unit) + np.dot(values, (1, np.log(classes), scarcity, support.x[0].numel() < LONG)))
        if values
        else 0.0
    )
    if raw is None or y is None:
        return float(np.exp(center))

    def loss(log_t: float) -> float:
        held = float(left_out_loss(raw / float(np.exp(log_t + SURER * scarcity)), y))
        return held + STRENGTH / 2 * (log_t - center) ** 2

    return float(np.exp(minimize_scalar(loss, bounds=(center - 6, center + 6), method="bounded").x))


def _kind(head: Head) -> str:
    """What a head is called in ``EXPECTED``, nothing if it is not there; of one that wraps another, the other."""
    inner = getattr(head, "head", None)
    if isinstance(inner, Head):
        return _kind(inner)
    if isinstance(head, Prototypes | NearestNeighbor):
        return ("prototypes" if isinstance(head, Prototypes) else "nearest") + (
            "-euclidean" if head.distance == "euclidean" else ""
        )
    kinds = {Ridge: "ridge", GaussianClasses: "gaussian", LogisticRegression: "logistic", MixedRidge: "depths"}
    return kinds.get(type(head), "")


def spread(head: Head, state: State, support: Examples) -> float:
    """How far the logits of examples lie below their largest, on average: the unit of temperatures."""
    x = support.x
    if len(x) > _LOOKED_AT:
        x = x[torch.linspace(0, len(x) - 1, _LOOKED_AT).round().long()]
    size = max(1, _AT_ONCE // (support.x.numel() + 1))
    with torch.no_grad():
        raw = torch.cat([head.predict(state, part)[0] for part in x.split(size)])
    below = raw.amax(1, keepdim=True) - raw
    return float(below[below.isfinite()].mean())


def left_out_loss(raw: Tensor, y: Tensor) -> Tensor:
    """The log loss of examples left out, summed, where one more than n is of any class: so none is ever sure."""
    share = 1 / (len(y) + 1)
    target = y * (1 - share) + share / y.shape[1]
    return -(target * raw.log_softmax(1).clamp(min=-1e6)).sum()
