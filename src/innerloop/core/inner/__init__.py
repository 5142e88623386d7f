"""Inner loops: differentiable inner optimizers, pure functions of gradients, parameters and memory.

Each equals its ``torch.optim`` namesake step by step, and a gradient passes through every step.
"""

from innerloop.core.inner.adam import Adam, AdamW, RMSprop
from innerloop.core.inner.around import Clipped, Groups, Scheduled
from innerloop.core.inner.base import (
    InnerOptimizer,
    Parameters,
    call,
    decay,
    gradient,
    not_negative,
    positive,
)
from innerloop.core.inner.carried import CarriedAdam
from innerloop.core.inner.loop import InnerLoop, inner_loop
from innerloop.core.inner.rates import LearnedRates
from innerloop.core.inner.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CarriedAdam",
    "Clipped",
    "Groups",
    "InnerLoop",
    "InnerOptimizer",
    "LearnedRates",
    "Parameters",
    "RMSprop",
    "Scheduled",
    "call",
    "decay",
    "gradient",
    "inner_loop",
    "not_negative",
    "positive",
]
