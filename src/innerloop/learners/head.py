"""A head: a learner on features, the unit of the methods that learn in a feature space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from innerloop.core.facts import Facts, Networks
from innerloop.core.learner import Learner
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError, check_examples
from innerloop.learners.arguments import complete, parameters


class Joined(NamedTuple):
    """What each of N examples and a query would get from all the others, where the query joins them under each class.

    The logits of a class depend only on whether it is the one that the query joins under.
    """

    others: Tensor
    """``[Q, N + 1, D]``: the logits of each class where the query joins under another; the query's own come last."""
    own: Tensor
    """``[Q, N + 1, D]``: the logit of each class where the query joins under that one."""

    def logits(self, code: int) -> Tensor:
        """All logits where the queries join under one class, ``[Q, N + 1, D]``."""
        columns = torch.arange(self.own.shape[2], device=self.own.device)
        return torch.where(columns == code, self.own, self.others)


class Head(Learner):
    """A learner on features ``[N, H]``, or on feature maps ``[N, C, s, s]``.

    Alone it learns from vectors; behind an encoder (:class:`~innerloop.learners.Embedded`) it is a method of its own,
    whose arguments are the head's. A head that has to know H takes ``features``; an encoder that says it tells it.

    Args:
        likelihood: what the raw predictions mean.
    """

    #: Whether it reads feature maps, and ``features`` is their shape.
    maps: ClassVar[bool] = False
    #: Whether a network compares each query with each support example, so that a pair has a price.
    pairwise: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        complete(cls)

    def check(self, support: Examples) -> None:
        """As any learner, except that features may be those of an encoder that diverged: its scores tell."""
        check_examples(support, classes=self.likelihood.classifies, finite=False)

    def held_out(self, support: Examples) -> Tensor | None:
        """What each support example would get from all the others, ``[N, P]``, where a closed form gives it exactly.

        Where there is none, and in any case, :func:`innerloop.evidence.leave_one_out` gives it.
        """
        return None

    def held_out_pairs(self, support: Examples) -> Tensor | None:
        """What each support example would get from all but itself and one other, ``[N, N, D]``, by a closed form.

        Row i, column j: the logits of example i where j is left out too, for j of another class. Neither of the two
        classes is then short of an example, as it is where one is left out alone.
        """
        return None

    def joined(self, support: Examples, x: Tensor) -> Joined | None:
        """What :meth:`held_out` would give with each query ``x [Q, *F]`` among the examples, where a closed form does.

        It is what full conformal prediction takes, for many queries and classes at the price of few.
        """
        return None

    def numbers(self, examples: int, classes: int, features: int) -> int:
        """How many numbers learning from such a support set holds at a time, roughly: what refits are cut by."""
        return examples * (features + examples + classes)

    @property
    def looks(self) -> bool:
        """Whether it keeps something of the meta-training features, so that :meth:`calibrate` is to show them."""
        return type(self).calibrate is not Learner.calibrate

    @classmethod
    def given(cls, facts: Facts) -> dict[str, Any]:
        """The options that follow from what its tasks are made of."""
        return {}

    @classmethod
    def on(cls, encoder: nn.Module, *arguments: Any, **options: Any) -> Self:
        """The head for an encoder: the size of the features is the encoder's, where it says it and none is given."""
        if "features" in parameters(cls) and options.get("features") is None:
            options["features"] = feature_shape(encoder) if cls.maps else vector_size(encoder)
        return cls(*arguments, **options)

    @classmethod
    def from_facts(cls, facts: Facts, nets: Networks, **options: Any) -> Self:
        """A head on the vectors themselves."""
        found = {"features": facts.shape if cls.maps else math.prod(facts.shape), **cls.given(facts)}
        return cls(**{**{name: value for name, value in found.items() if name in parameters(cls)}, **options})


def distance_scale(distance: str, scale: float | None) -> float:
    """The factor of logits that are cosines or minus squared distances: 10 and 1 where none is given.

    Raises:
        InputError: for an unknown distance, or a scale that is not positive.
    """
    if distance not in ("euclidean", "cosine"):
        raise InputError(f"distance {distance!r} is unknown; choose 'euclidean' or 'cosine'")
    check_number("the scale of the distance", scale, "(0, inf)", optional=True)
    return scale if scale is not None else (1.0 if distance == "euclidean" else 10.0)


def feature_shape(encoder: nn.Module) -> tuple[int, ...] | None:
    """The shape of one example's features, where the encoder says it by its attribute ``features`` or its last layer.

    Example:
        >>> import innerloop as il
        >>> feature_shape(il.nets.conv4()), feature_shape(il.nets.mlp(8, 32, 16)), feature_shape(torch.nn.Identity())
        ((64,), (16,), None)
    """
    said = getattr(encoder, "features", None)
    if said is None and isinstance(encoder, nn.Sequential) and len(encoder):
        return feature_shape(encoder[-1])
    said = encoder.out_features if said is None and isinstance(encoder, nn.Linear) else said
    sizes = (said,) if isinstance(said, int) else said
    # Networks of other libraries keep layers under this name.
    known = isinstance(sizes, Sequence) and len(sizes) > 0 and all(isinstance(size, int) for size in sizes)
    return tuple(sizes) if known else None  # type: ignore[arg-type]


def vector_size(encoder: nn.Module) -> int | None:
    """H, all numbers of one example's features, where the encoder says it."""
    shape = feature_shape(encoder)
    return None if shape is None else math.prod(shape)


def required(features: int | None, head: nn.Module) -> int:
    """H, where a head cannot do without.

    Raises:
        InputError: if nobody said it, or it is no size.
    """
    if features is None:
        raise InputError(
            f"{type(head).__name__} needs the size of a feature vector: pass features=, or an encoder that has an "
            f"attribute `features` (nets.feature_size(encoder, shape) finds it)"
        )
    check_count(f"features, the size of a feature vector for {type(head).__name__},", features, 1)
    return features
