"""Learned features where they carry, the raw inputs where they do not: weighed for each task by what is left out of it.

An encoder that was meta-trained on some kind of tasks helps on tasks of that kind and may know less than the inputs
themselves on another kind. Which is the case shows only in the new task. So a head stands on either, and the examples
that are left out say how much each counts (:class:`~innerloop.learners.Stacked`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Self

from torch import Tensor, nn

from innerloop.core.facts import Facts, Networks
from innerloop.core.learner import Learner
from innerloop.core.task import Examples, InputError, Task
from innerloop.learners.embedded import Embedded, EmbeddedState
from innerloop.learners.head import Head, vector_size
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.learners.heads.ridge import Ridge
from innerloop.learners.heads.stacked import Stacked
from innerloop.learners.heads.tanimoto import Tanimoto
from innerloop.nets.beside import Beside
from innerloop.nets.conv4 import feature_size


class RawOrLearned(Learner):
    """A head on an encoder's features and heads on the inputs themselves, weighed for each task.

    Its meta-training is that of the head on the encoder. One that is trained is taken as it is:
    ``RawOrLearned(*il.load(BEST).split(), inputs=2048)``, then ``calibrate`` with meta-training tasks.

    Args:
        encoder: any module ``[N, *F] -> [N, *H]`` that sees each example alone.
        head: on its features; default :class:`~innerloop.learners.Prototypes`.
        raw: heads on the inputs; default one :class:`~innerloop.learners.Ridge`, and where a recipe builds it for
            molecules :class:`~innerloop.learners.Tanimoto` as well.
        inputs: numbers of an input.
        features: numbers of a feature vector; default what the encoder says.
        prior: mean of the weight of the learned features, and of the weights of all raw heads together.
        strength: of the prior, see :class:`~innerloop.learners.Stacked`.

    Raises:
        InputError: if nobody says how many features there are, or a number is out of range.

    Example:
        >>> import torch, innerloop as il
        >>> learner = RawOrLearned(il.nets.mlp(8, 16), inputs=8)
        >>> support = Examples(torch.rand(6, 8), torch.eye(2).repeat(3, 1))
        >>> learner.adapt(support).head.weights.shape
        torch.Size([2])
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: Head | None = None,
        raw: Sequence[Head] | None = None,
        *,
        inputs: int | None = None,
        features: int | None = None,
        prior: float = 0.5,
        strength: float = 20.0,
    ) -> None:
        head = Prototypes() if head is None else head
        raw = [Ridge()] if raw is None else list(raw)
        super().__init__(head.likelihood)
        features = vector_size(encoder) if features is None else features
        if features is None or inputs is None:
            raise InputError(
                "the sizes are unknown: pass inputs=, the numbers of an input, and features=, of a feature vector"
            )
        starts = [(0, features), *[(features, features + inputs)] * len(raw)]
        stacked = Stacked(
            [head, *raw], parts=starts, prior=[prior, *[prior / max(len(raw), 1)] * len(raw)], strength=strength
        )
        self.embedded = Embedded(Beside(encoder, features=features, inputs=inputs), stacked)

    def adapt(self, support: Examples, state: EmbeddedState | None = None) -> EmbeddedState:  # noqa: D102
        return self.embedded.adapt(support, state)

    def predict(self, state: EmbeddedState, x: Tensor) -> Tensor:  # noqa: D102
        return self.embedded.predict(state, x)

    def loss(self, task: Task) -> Tensor:
        """The heads' own outer objectives: the encoder learns from that of the head on its features."""
        return self.embedded.loss(task)

    def calibrate(self, tasks: Iterable[Task]) -> None:  # noqa: D102
        self.embedded.calibrate(tasks)

    def split(self) -> tuple[nn.Module | None, Learner]:  # noqa: D102
        return self.embedded.split()

    def backbone(self) -> nn.Module:
        """The encoder without what stands beside it: a run of any learner with such a network can be the start."""
        encoder: Any = self.embedded.encoder
        return encoder.encoder

    @classmethod
    def from_facts(cls, facts: Facts, nets: Networks, **options: Any) -> Self:
        """An encoder for examples of such a shape, prototypes on it, and a head on the examples."""
        encoder = nets.encoder(facts.shape)
        found: dict[str, Any] = {"inputs": math.prod(facts.shape)}
        if vector_size(encoder) is None:
            found["features"] = math.prod(feature_size(encoder, facts.shape))
        if facts.kind == "molecules":
            found["raw"] = [Tanimoto(), Ridge(normalize=False, penalty=150.0)]
        return cls(encoder, **{**found, **options})
