"""The learner: a fold over data, written for one task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from functools import wraps
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from innerloop.core import norm
from innerloop.core.construction import Recorded
from innerloop.core.facts import Facts, Networks
from innerloop.core.layout import fast_layout
from innerloop.core.likelihood import Likelihood
from innerloop.core.task import Examples, InputError, Task, check_examples

#: A pytree of tensors: savable, sendable, vmappable.
State = Any


class Learner(Recorded, ABC):
    """Learns a task from its support set. Its meta-parameters are ``self.parameters()``.

    A subclass writes :meth:`adapt` and :meth:`predict` for **one** task, as its paper states them; the engine
    (:func:`innerloop.lift`) runs them over a batch of tasks. :meth:`loss` is the outer objective; the few methods whose
    meta-training is not "log likelihood of the query set" (Reptile, a plain classifier) write their own.

    Args:
        likelihood: what the raw predictions mean.
    """

    #: Whether a prediction depends on which other queries are predicted with it. Batch statistics come on top of this,
    #: and what learners within say of themselves.
    looks_at_queries: bool = False

    #: Whether inputs may have missing numbers (NaN).
    missing: ClassVar[bool] = False
    #: What its targets can be.
    objectives: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "adapt" in vars(cls):
            cls.adapt = _checking(cls.adapt)  # type: ignore[method-assign]

    @abstractmethod
    def adapt(self, support: Examples, state: State | None = None) -> State:
        """The inner loop: learn from ``support``, starting at ``state`` (``None``: the prior)."""

    @abstractmethod
    def predict(self, state: State, x: Tensor) -> Tensor:
        """Raw predictions for queries: ``[N, *F] -> [S, N, P]``."""

    def check(self, support: Examples) -> None:
        """Refuse a malformed support set before :meth:`adapt` sees it, whose sums would broadcast.

        Raises:
            InputError: naming the part that does not fit and the remedy.
        """
        check_examples(support, classes=self.likelihood.classifies, finite=not self.missing)

    def loss(self, task: Task) -> Tensor:
        """The outer objective on one task, a scalar."""
        raw = self.predict(self.adapt(task.support), task.query.x)
        return self.likelihood.nll(raw, task.query.y).mean()

    def split(self) -> tuple[nn.Module | None, Learner]:
        """An encoder that is the same for every task and sees each example alone, and the learner on its features.

        The engine embeds all tasks of a batch at once with it, and evaluation embeds a pool once. ``(None, self)``
        where there is no such part.
        """
        return None, self

    def backbone(self) -> nn.Module:
        """The network that another learner can start from, whatever stands around it: here all of the learner."""
        return self

    @classmethod
    def from_facts(cls, facts: Facts, nets: Networks, **options: Any) -> Self:
        """A learner with fresh weights, from facts and options alone: what recipes and bundles call.

        Args:
            facts: of the tasks that it is trained on.
            nets: makes its network.
            options: keyword arguments of the class.
        """
        return cls(**options)

    def calibrate(self, tasks: Iterable[Task]) -> None:
        """Look once at meta-training tasks, unaugmented, before a validation: here the encoder's running statistics.

        A head may keep what it sees of their features (a center, covariances). A learner around others lets them look.

        Args:
            tasks: batches of tasks, on the learner's device.
        """
        encoder, _ = self.split()
        within = [part for part in self.children() if isinstance(part, Learner)] if encoder is None else []
        tasks = list(tasks) if len(within) > 1 else tasks
        for part in within:
            part.calibrate(tasks)
        if (
            encoder is None
            or norm.policy(encoder) != "running"
            or not any(p.requires_grad for p in encoder.parameters())
        ):
            return
        inputs = (fast_layout(torch.cat((t.support.x.flatten(0, 1), t.query.x.flatten(0, 1)))) for t in tasks)
        norm.calibrate(encoder, inputs, keep=norm.frozen(encoder))

    def progress(self, used: float) -> None:
        """Hear, before each outer step, which share of the run is done: here nothing follows from it.

        What follows from it must follow from this number alone, so that a resumed run goes on as it was: numbers in
        buffers, what else changes in :attr:`stage`. Learners within hear it themselves.

        Args:
            used: 0 at the first step, below 1 at the last.
        """

    @property
    def stage(self) -> Hashable:
        """What of the outer loss's computation changes in the course of a run, beside modes, parameters and buffers.

        A way of running the learner is compared, and a step compiled, once for each stage. ``None``: nothing changes.
        A learner that has heard of no progress computes all that it ever does.
        """
        return None

    def proba(self, state: State, x: Tensor) -> Tensor:
        """Class probabilities of queries, or their predictive means: ``[N, *F] -> [N, D]``, without a graph."""
        with torch.no_grad():
            return self.likelihood.mean(self.predict(state, x))

    def train(self, mode: bool = True) -> Self:
        """Set the mode as usual, except that frozen batch norm keeps its running statistics."""
        super().train(mode)
        for part in norm.frozen(self):
            part.eval()
        return self

    @property
    def norm(self) -> str:
        """The batch-normalization policy of the networks within (see :mod:`innerloop.norm`)."""
        return norm.policy(self)

    @property
    def transductive(self) -> bool:
        """Whether a query's prediction may depend on the other queries, as far as the types of its parts tell.

        :func:`innerloop.core.alone.looks_at_other_queries` tries it.
        """
        looks = (part.looks_at_queries for part in self.modules() if isinstance(part, Learner))
        return any(looks) or self.norm == "batch"


def _checking(adapt: Callable[..., State]) -> Callable[..., State]:
    """The method, after the support set was checked."""

    @wraps(adapt)
    def checked(self: Learner, support: Examples, state: State | None = None) -> State:
        self.check(support)
        return adapt(self, support, state)

    return checked


def check_learner_kind(value: Any, who: str) -> None:
    """Refuse what is no learner: a network, say.

    Args:
        value: what was given.
        who: wants a learner, for the message.

    Raises:
        InputError: naming it and the remedy.
    """
    if not isinstance(value, Learner):
        raise InputError(f"{who} a learner, not a {type(value).__name__}: il.ProtoNet(network), say")


def stages(module: nn.Module) -> tuple[Hashable, ...]:
    """The stages of all learners within that have some."""
    found = (part.stage for part in module.modules() if isinstance(part, Learner))
    return tuple(stage for stage in found if stage is not None)


def tell(learner: Learner, used: float) -> None:
    """Let a learner and all learners within hear which share of the run is done (:meth:`Learner.progress`)."""
    for part in learner.modules():
        if isinstance(part, Learner):
            part.progress(used)
