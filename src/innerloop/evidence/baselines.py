"""What a meta-learner is measured by: no meta-learning at all, an ordinary training, much pre-training."""

from __future__ import annotations

import torch
from torch import nn

from innerloop.core.facts import Facts
from innerloop.core.inner import Adam
from innerloop.core.learner import Learner
from innerloop.core.task import InputError
from innerloop.learners.embedded import Embedded
from innerloop.learners.heads.logistic import LogisticRegression
from innerloop.learners.optimization.maml import MAML
from innerloop.nets.spec import NetSpec

#: Penalties that are tried where nothing says which is best.
PENALTIES = (0.1, 1.0, 10.0, 100.0)


def on_inputs(C: float = 10.0, *, normalize: bool = True) -> Learner:
    """Logistic regression on the inputs as they are, the pixels of an image: nothing is learned before the task.

    Args:
        C: the penalty's inverse, see :class:`innerloop.learners.LogisticRegression`.
        normalize: whether an input is scaled to unit length.

    Example:
        >>> import innerloop as il
        >>> support = il.Examples(torch.rand(4, 1, 8, 8), torch.eye(2).repeat(2, 1))
        >>> learner = on_inputs()
        >>> learner.predict(learner.adapt(support), support.x).shape
        torch.Size([1, 4, 2])
    """
    return Embedded(nn.Flatten(), LogisticRegression(C=C, normalize=normalize)).eval()


def on_features(learner: Learner, C: float = 10.0) -> Learner:
    """Logistic regression on the features of a trained network, of a fine-tuned one, say.

    Args:
        learner: any with an encoder; the network is shared, not copied.
        C: the penalty's inverse.

    Raises:
        InputError: for a learner without an encoder.
    """
    encoder, _ = learner.split()
    if encoder is None:
        raise InputError(f"{type(learner).__name__} has no encoder: features come from FineTune, ProtoNet and the like")
    return Embedded(encoder, LogisticRegression(C=C)).eval()


def from_scratch(
    facts: Facts, *, width: int = 32, steps: int = 60, lr: float = 3e-3, norm: str = "support", seed: int = 0
) -> Learner:
    """A network that is trained on the support set alone, from random weights: Adam on all of its examples.

    The usual network of few-shot learning, its weights the same at the start of each task. With ``norm="support"``
    statistics are those of the support set.

    Args:
        facts: of the tasks: a network for such examples, and any number of ways.
        width: filters of each block.
        steps: of the training.
        lr: learning rate.
        norm: normalization policy, see :mod:`innerloop.core.norm`.
        seed: of the weights.

    Example:
        >>> import innerloop as il
        >>> learner = from_scratch(Facts("images", (1, 28, 28), 5, "classification"), width=4, steps=2)
        >>> support = il.Examples(torch.rand(3, 1, 28, 28), torch.eye(3))
        >>> learner.predict(learner.adapt(support), support.x).shape
        torch.Size([1, 3, 3])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = MAML.from_facts(
            facts,
            NetSpec(None, norm, {"width": width}),
            inner=Adam(lr),
            steps=steps,
            first_order=True,
            shared_head="out",
        )
    return learner.eval()
