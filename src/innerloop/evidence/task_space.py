"""Tasks as points: which of them are alike to a learner, and a map of them.

A task is what a learner's network makes of its examples: their mean feature, or how the network's filters matter to the
task's answers (the diagonal of the Fisher information, Task2Vec). Neither depends on the order of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.inner import Parameters
from innerloop.core.learner import Learner, State
from innerloop.core.metric import roc_auc
from innerloop.core.modes import evaluating
from innerloop.core.swap import swapped
from innerloop.core.task import Examples, InputError
from innerloop.data.episodes import Sampler
from innerloop.evidence.judging import answer_of
from innerloop.evidence.layers import input_of_head, network_of
from innerloop.evidence.plane import plane
from innerloop.evidence.tasks import each_task
from innerloop.learners.optimization.gradient import GradientLearner

Floats = npt.NDArray[np.float64]
Method = Literal["features", "fisher"]


@dataclass(frozen=True)
class TaskSpace:
    """Some tasks as points."""

    points: Floats
    """``[T, E]``, their mean over the tasks taken away."""
    groups: tuple[str, ...]
    """Where each task comes from, ``[T]``."""
    method: str
    """``"features"`` or ``"fisher"``."""

    @property
    def similarity(self) -> Floats:
        """Cosines of the points, ``[T, T]``."""
        lengths = np.linalg.norm(self.points, axis=1, keepdims=True)
        unit = self.points / np.where(lengths > 0, lengths, 1)
        found: Floats = unit @ unit.T
        return found

    @property
    def map(self) -> Floats:
        """The points' first two principal components, ``[T, 2]``: see :func:`~innerloop.evidence.plane.plane`."""
        return plane(self.points)[0]

    @property
    def explained(self) -> float:
        """The share of the points' variance that the map shows."""
        return plane(self.points)[1]

    @property
    def separation(self) -> float:
        """The probability that two tasks of one group are more alike than two of different ones (an AUROC).

        NaN for a single group, or where no group has two tasks.
        """
        first, second = np.triu_indices(len(self.groups), 1)
        names = np.array(self.groups)
        same = torch.from_numpy(names[first] == names[second])
        if not 0 < int(same.sum()) < len(same):
            return float("nan")
        return float(roc_auc(torch.from_numpy(self.similarity[first, second])[None], same[None]))

    def __str__(self) -> str:
        text = f"{len(self.points)} tasks by {self.method}, {self.points.shape[1]} numbers each; "
        text += f"the map shows {100 * self.explained:.0f} % of their variance"
        return text if np.isnan(self.separation) else f"{text}; groups are told apart with AUROC {self.separation:.3f}"

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": self.method,
            "groups": list(self.groups),
            "map": self.map.tolist(),
            "explained": self.explained,
            "separation": self.separation,
            "similarity": self.similarity.tolist(),
        }


def task_space(
    learner: Learner,
    samplers: Sampler | Mapping[str, Sampler],
    *,
    method: Method = "features",
    tasks: int = 20,
    seed: int = 0,
) -> TaskSpace:
    """Place tasks by what a learner's network makes of their support sets.

    Args:
        learner: any; it is run in evaluation mode and left in the mode it had.
        samplers: one, or several by the names of groups.
        method: ``"features"``, the mean of what the network gives for the support examples (of learners with an inner
            loop what goes into the last layer, as meta-training left it); or ``"fisher"``, the logarithms of how much
            each filter matters to the adapted learner's answers, against the others.
        tasks: from each sampler, 2 at least in all.
        seed: of the draw.

    Raises:
        InputError: for an unknown method, a single task, and ``"fisher"`` of a network without parameters.

    Example:
        >>> import innerloop as il
        >>> near = il.Pool.of(torch.randn(40, 3), [i % 4 for i in range(40)])
        >>> far = il.Pool.of(torch.randn(40, 3) + 9, [i % 4 for i in range(40)])
        >>> pools = {"near": near, "far": far}
        >>> samplers = {name: il.FewShot(pool, ways=2, shots=2, queries=1) for name, pool in pools.items()}
        >>> found = task_space(il.ProtoNet(torch.nn.Identity()), samplers, tasks=5)
        >>> found.points.shape, found.separation
        ((10, 3), 1.0)

    References:
        Achille et al., *Task2Vec: Task Embedding for Meta-Learning*, ICCV 2019, https://arxiv.org/abs/1902.03545: the
        Fisher information, averaged over each filter, and the mean feature as what it is compared with (there called
        domain embedding).
    """
    if method not in ("features", "fisher"):
        raise InputError(f"method={method!r} is unknown: choose 'features' or 'fisher'")
    named = samplers if isinstance(samplers, Mapping) else {"": samplers}
    if len(named) * tasks < 2:
        raise InputError("a single task is like no other: give 2 at least")
    rows, groups = [], []
    with evaluating(learner):
        for group, sampler in named.items():
            for task in each_task(learner, sampler, tasks, seed):
                rows.append(_feature(learner, task.support) if method == "features" else _fisher(learner, task.support))
                groups.append(group)
    points = torch.stack(rows).double().cpu().numpy()
    return TaskSpace(points - points.mean(0), tuple(groups), method)


@torch.no_grad()
def _feature(learner: Learner, support: Examples) -> Tensor:
    """The mean feature of a support set, ``[E]``."""
    if isinstance(learner, GradientLearner):
        own = learner.initial(support.y.shape[1])
        (found,) = input_of_head(learner, learner.state_of(own, support), [support.x])
        return found.flatten(1).mean(0)
    net = network_of(learner)
    # A learner without an encoder sees features as they are.
    return (support.x if net is learner else net(support.x)).flatten(1).mean(0)


def _fisher(learner: Learner, support: Examples) -> Tensor:
    """The logarithm of each filter's mean Fisher information in the adapted learner's answers, ``[E]``."""
    net = network_of(learner)
    known = {name: p for name, p in net.named_parameters() if p.ndim > 1}
    if isinstance(learner, GradientLearner) and len(known) > 1:
        # The last layer has rows for classes, whose order says nothing of a task.
        known.pop(list(known)[-1])
    if not known:
        raise InputError(f"{type(learner).__name__} has no network with filters: take method='features'")
    with torch.no_grad():
        state = learner.adapt(support)
    adapted = state.parameters if isinstance(learner, GradientLearner) else {}
    at = {name: adapted.get(name, p).detach().requires_grad_() for name, p in known.items()}
    totals = {name: torch.zeros_like(p) for name, p in at.items()}
    # Each by itself, where an example is seen by itself: a backward pass is then that of one.
    parts = [support.x] if learner.norm == "batch" else support.x.split(1)
    for x in parts:
        for weight, log_p in _answers(learner, net, state, at, x):
            found = torch.autograd.grad(log_p, list(at.values()), retain_graph=True, allow_unused=True)
            for name, slope in zip(at, found, strict=True):
                totals[name] += 0 if slope is None else weight * slope.square()
    filters = torch.cat([total.flatten(1).mean(1) for total in totals.values()]) / len(support.x)
    # A filter that does nothing to any answer is as far below the others as numbers go.
    logs = filters.clamp_min(torch.finfo(filters.dtype).tiny).log()
    # A common factor says how sure the answers are, and nothing of what they are about.
    return logs - logs.mean()


def _answers(
    learner: Learner, net: torch.nn.Module, state: State, at: Parameters, x: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """The log likelihood of each possible answer to each example, and how probable that answer is.

    Of a number it is the predicted mean, whose squared slope is the Fisher information of a normal one of deviation 1.
    """
    with torch.enable_grad():
        if isinstance(learner, GradientLearner):
            raw = learner.predict(state._replace(parameters={**state.parameters, **at}), x)
        else:
            with swapped(net, at):
                raw = learner.predict(state, x)
        mean = learner.likelihood.mean(raw)
        if not learner.likelihood.classifies:
            return [(value.new_ones(()), value) for value in mean.flatten()]
        log_p = answer_of(learner.likelihood, raw, mean.shape[1]).log_softmax(1)
    return list(zip(mean.detach().flatten(), log_p.flatten(), strict=True))
