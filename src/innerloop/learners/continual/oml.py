"""OML (Javed, White, NeurIPS 2019, https://arxiv.org/abs/1905.12588), ANML (Beaulieu et al., ECAI 2020,
https://arxiv.org/abs/2002.09571).

Meta-train a representation so that a linear head that learns online, one example after the other in a single pass, does
not forget: the outer loss is taken after a whole stream, and its gradient goes through every online step. ANML adds a
second network that gates the features. Choose them where classes keep coming and nothing may be kept but the head.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.construction import Recorded
from innerloop.core.facts import Facts
from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples
from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.head import Head, required, vector_size


class HeadState(NamedTuple):
    """The head's weight, ``[D, H]``."""

    weight: Tensor


class OnlineHead(Head):
    """A linear classifier that takes one gradient step of the cross-entropy on each example, in their order.

    Features are scaled to unit length and the head has no bias: both are where an online classifier forgets first. How
    sharp an answer is (a factor of the logits) is meta-learned apart from the rate, so that a slow head need not hedge.

    Args:
        features: H, numbers in a feature vector; default the encoder's.
        classes: C, meta-training classes. On a task with C target columns, in training, the rows of classes that the
            stream does not hold start from meta-learned ones (the classes to be remembered); all others start from 0.
            Default 0: every row starts from 0.
        lr: where the meta-learned rate of the online steps starts.
        test_lr: the rate outside training; default the meta-learned one. A stream that is longer than those of
            meta-training wants a lower one, which is to be chosen on validation streams.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: if nobody says the size of the features, or for a rate that is not positive.
    """

    def __init__(
        self,
        *,
        features: int | None = None,
        classes: int = 0,
        lr: float = 1.0,
        test_lr: float | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        check_number("lr, the rate of the online steps,", lr, "(0, inf)")
        check_number("test_lr, the rate of the online steps,", test_lr, "(0, inf)", optional=True)
        check_count("classes", classes, 0)
        self.features = required(features, self)
        self.known = nn.Parameter(torch.zeros(classes, self.features)) if classes else None
        self.log_rate = nn.Parameter(torch.tensor(math.log(lr)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(5.0)))
        self.test_lr = test_lr

    @classmethod
    def given(cls, facts: Facts) -> dict[str, Any]:  # noqa: D102
        return {"classes": len(facts.classes or ())}

    @property
    def rate(self) -> Tensor:
        """The rate of the online steps, ``[]``."""
        rate = self.log_rate.exp()
        return rate if self.training or self.test_lr is None else torch.full_like(rate, self.test_lr)

    def adapt(self, support: Examples, state: HeadState | None = None) -> HeadState:  # noqa: D102
        z, y = F.normalize(support.x.flatten(1), dim=1), support.y
        weight = state.weight if state is not None else self._start(z, y)
        if not len(z):
            return HeadState(weight)
        gram, logits, errors = z @ z.mT, z @ weight.mT, []
        for n in range(len(z)):
            errors.append(logits[n].softmax(0) - y[n])
            # The step adds -rate error z' to the weight, and hence this to what is said of every other example.
            logits = logits - self.rate * torch.outer(gram[:, n], errors[n])
        return HeadState(weight - self.rate * torch.stack(errors).mT @ z)

    def predict(self, state: HeadState, x: Tensor) -> Tensor:  # noqa: D102
        z = F.normalize(x.flatten(1), dim=1)
        return (self.log_scale.exp() * z @ state.weight.mT).unsqueeze(0)

    def _start(self, z: Tensor, y: Tensor) -> Tensor:
        if self.known is None or not self.training or y.shape[1] != len(self.known):
            return z.new_zeros(y.shape[1], z.shape[1])
        # A class of the stream is new: what was learned of it must not help.
        return self.known * (y.sum(0) == 0).unsqueeze(1)


class OML(Embedded[OnlineHead]):
    """Online-aware meta-learning: a meta-learned representation, and a linear head that learns online.

    Meta-train it on :class:`innerloop.data.ClassStream`.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.learners.OML(il.nets.conv4()).eval()
        >>> state = learner.adapt(il.Examples(torch.rand(5, 1, 28, 28), torch.eye(5)))
        >>> learner.predict(state, torch.rand(7, 1, 28, 28)).shape
        torch.Size([1, 7, 5])

    References:
        Javed, White, *Meta-Learning Representations for Continual Learning*, NeurIPS 2019,
        https://arxiv.org/abs/1905.12588.
    """

    @composed(OnlineHead)
    def __init__(self) -> None: ...


class Gated(Recorded):
    """Features times a gate in 0 to 1 that a second network reads off the same input: neuromodulation.

    Args:
        encoder: any module ``[N, *F] -> [N, H]``.
        modulator: the gating network ``[N, *F] -> [N, H]``; default another of the encoder's kind.
        features: H; default the encoder's.

    Raises:
        InputError: if nobody says H.
    """

    def __init__(self, encoder: nn.Module, modulator: nn.Module | None = None, *, features: int | None = None) -> None:
        super().__init__()
        size = required(features or vector_size(encoder), self)
        self.encoder, self.modulator, self.gate = encoder, modulator or _another(encoder), nn.Linear(size, size)
        self.features = (size,)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, *F] -> [N, H]``."""
        return self.encoder(x).flatten(1) * self.gate(self.modulator(x).flatten(1)).sigmoid()


class ANML(Embedded[OnlineHead]):
    """A neuromodulated meta-learner: as OML, with features that a second network gates.

    As in the paper's meta-test, the last layer alone learns online; here in meta-training, too, so that the encoder
    runs once for all examples.

    Args:
        encoder: any module ``[N, *F] -> [N, H]``, which another of its kind gates; or a :class:`Gated` one with a
            gating network of its own.

    Example:
        >>> import torch, innerloop as il
        >>> il.learners.ANML(il.nets.conv4(width=8)).encoder(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 8])

    References:
        Beaulieu et al., *Learning to Continually Learn*, ECAI 2020, https://arxiv.org/abs/2002.09571.
    """

    @composed(OnlineHead)
    def __init__(self) -> None:
        if not isinstance(self.encoder, Gated):
            self.encoder = Gated(self.encoder, features=self.head.features)

    def backbone(self) -> nn.Module:  # noqa: D102
        return self.encoder.get_submodule("encoder")


def _another(encoder: nn.Module) -> nn.Module:
    """A network of the same kind with random weights of its own."""
    other = copy.deepcopy(encoder)
    for part in other.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    return other
