"""Any learner on features, behind an encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from inspect import Parameter
from typing import Any, ClassVar, Concatenate, Generic, NamedTuple, ParamSpec, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from innerloop.core import norm
from innerloop.core.facts import Facts, Networks
from innerloop.core.lazy import check_network
from innerloop.core.learner import Learner, State
from innerloop.core.modes import evaluating
from innerloop.core.task import Examples, Task, count, take
from innerloop.learners.arguments import document, parameters, signature
from innerloop.learners.head import Head, feature_shape
from innerloop.nets.conv4 import feature_size

P = ParamSpec("P")
AnyHead = TypeVar("AnyHead", bound=Learner)
AnyEmbedded = TypeVar("AnyEmbedded", bound="Embedded[Any]")


class EmbeddedState(NamedTuple):
    """What the head learned, and the support statistics where the encoder's norm policy keeps them."""

    head: State
    statistics: norm.Statistics


class Embedded(Learner, Generic[AnyHead]):
    """An encoder and a head, the head itself a learner on the encoder's features.

    Every head takes every encoder, a frozen one too (``encoder.requires_grad_(False)``): that one stays in evaluation
    mode. A named method is this class with its head, see :func:`composed`.

    Args:
        encoder: any module ``[N, *F] -> [N, *H]`` that sees each example alone (normalization apart).
        head: a learner on ``[N, *H]``.

    Example:
        >>> import innerloop as il
        >>> Embedded(il.nets.conv4(), il.learners.Prototypes()).norm
        'running'
    """

    #: The class of a named method's head.
    kind: ClassVar[type[Head] | None] = None

    def __init__(self, encoder: nn.Module, head: AnyHead) -> None:
        super().__init__(head.likelihood)
        check_network(encoder)
        self.encoder, self.head = encoder, head

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        kind = getattr(vars(cls).get("__init__"), "head", None)
        if kind is not None:
            cls.kind, cls.objectives = kind, kind.objectives
            document(cls, Embedded, ["encoder"])
            document(cls, kind, parameters(cls))

    def adapt(self, support: Examples, state: EmbeddedState | None = None) -> EmbeddedState:  # noqa: D102
        with norm.recording() as statistics:
            z = self.encoder(support.x)
        return EmbeddedState(self.head.adapt(Examples(z, support.y), state.head if state else None), statistics)

    def predict(self, state: EmbeddedState, x: Tensor) -> Tensor:  # noqa: D102
        with norm.replaying(state.statistics):
            z = self.encoder(x)
        return self.head.predict(state.head, z)

    def loss(self, task: Task) -> Tensor:
        """The head's outer objective, on the features."""
        return self.head.loss(self.embed(task))

    def embed(self, task: Task) -> Task:
        """A task as the head sees it: features in the place of inputs."""
        (x, y), query = task
        with norm.recording() as statistics:
            z = self.encoder(x)
        with norm.replaying(statistics):
            zq = self.encoder(query.x)
        return Task(Examples(z, y), Examples(zq, query.y))

    def calibrate(self, tasks: Iterable[Task]) -> None:
        """The encoder's running statistics first, then what the head keeps of the features.

        Args:
            tasks: batches of meta-training tasks, on the learner's device.
        """
        looks = any(isinstance(part, Head) and part.looks for part in self.head.modules())
        tasks = list(tasks) if looks else tasks
        super().calibrate(tasks)
        if looks:
            self.head.calibrate(self._embedded(tasks))

    @torch.no_grad()
    def _embedded(self, tasks: Iterable[Task]) -> Iterator[Task]:
        for batch in tasks:
            with evaluating(self):
                each = [self.embed(take(batch, t)) for t in range(count(batch))]
            yield pytree.tree_map(lambda *leaves: torch.stack(leaves), *each)

    def train(self, mode: bool = True) -> Self:
        """Set the mode as usual, except that a frozen encoder, or frozen batch norm in it, stays in evaluation mode."""
        super().train(mode)
        own = list(self.encoder.parameters())
        if own and not any(p.requires_grad for p in own):
            self.encoder.eval()
        return self

    def split(self) -> tuple[nn.Module | None, Learner]:  # noqa: D102
        return self.encoder, self.head

    def backbone(self) -> nn.Module:  # noqa: D102
        return self.encoder

    @classmethod
    def from_facts(cls, facts: Facts, nets: Networks, **options: Any) -> Self:
        """An encoder for examples of such a shape, and the head on its features.

        Raises:
            InputError: for a head on feature maps where examples are no images.
        """
        kind = cls.kind
        if kind is None:
            return cls(nets.encoder(facts.shape), **options)
        encoder = nets.maps(facts.shape) if kind.maps else nets.encoder(facts.shape)
        found = kind.given(facts)
        if feature_shape(encoder) is None:
            shape = feature_size(encoder, facts.shape)
            found["features"] = shape if kind.maps else math.prod(shape)
        known = parameters(cls)
        return cls(encoder, **{**{name: value for name, value in found.items() if name in known}, **options})


def composed(
    head: Callable[P, AnyHead],
) -> Callable[[Callable[[AnyEmbedded], None]], Callable[Concatenate[AnyEmbedded, nn.Module, P], None]]:
    """Make the constructor of a named method from its head: an encoder, and the arguments of the head's class.

    The signature, the types and the docs of the method are the head's. What is decorated runs when both are in place.

    Example:
        >>> import inspect, innerloop as il
        >>> class Cosines(Embedded[il.learners.Prototypes]):
        ...     '''Prototypes by cosines.'''
        ...
        ...     @composed(il.learners.Prototypes)
        ...     def __init__(self) -> None: ...
        >>> Cosines(il.nets.conv4(), distance="cosine").head
        Prototypes(
          distance='cosine', scale=10.0
          (likelihood): Categorical(smoothing=0.0)
        )
    """
    kind: Any = head

    def decorate(after: Callable[[AnyEmbedded], None]) -> Callable[Concatenate[AnyEmbedded, nn.Module, P], None]:
        def construct(self: AnyEmbedded, encoder: nn.Module, *arguments: P.args, **options: P.kwargs) -> None:
            Embedded.__init__(self, encoder, kind.on(encoder, *arguments, **options))
            after(self)

        own = Parameter("encoder", Parameter.POSITIONAL_OR_KEYWORD, annotation=nn.Module)
        made: Any = construct
        made.__name__, made.__signature__ = "__init__", signature(own, *parameters(kind).values())
        made.head = kind
        return made

    return decorate
