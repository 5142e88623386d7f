"""What adaptation changes, layer by layer, by centered kernel alignment: the study of the ANIL paper.

Raghu, Raghu, Bengio, Vinyals (*Rapid Learning or Feature Reuse?*, ICLR 2020, https://arxiv.org/abs/1909.09157) found of
MAML that the inner loop hardly changes what the body of the network makes of the queries, and that the head changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from innerloop.core.learner import Learner, State
from innerloop.core.modes import evaluating
from innerloop.core.task import Examples, InputError
from innerloop.data.episodes import Sampler
from innerloop.evidence.cka import linear_cka
from innerloop.evidence.shown import Tabled, intervals_of, mean_of
from innerloop.evidence.tasks import each_task
from innerloop.learners.optimization.adapting import last_layer
from innerloop.learners.optimization.gradient import Adapted, GradientLearner

Floats = npt.NDArray[np.float64]

#: What stands for the raw predictions among the layers.
ANSWER = "answer"


@dataclass(frozen=True)
class LayerChange(Tabled):
    """How alike each layer's representation of the queries is before and after adaptation: 1 where nothing changed."""

    layers: tuple[str, ...]
    """In the order in which they run, L of them."""
    values: Floats
    """Linear CKA by the unbiased estimator, ``[T, L]``; NaN where a representation is constant."""
    plain: Floats
    """By the plain one, as the paper has it: biased upwards where queries are few, ``[T, L]``."""
    against: str
    """What the adapted learner was compared with: ``"start"`` or ``"another task"``."""

    @property
    def mean(self) -> Floats:
        """Over tasks, ``[L]``."""
        return mean_of(self.values)

    @property
    def intervals(self) -> Floats:
        """Of 95 %, of that mean, ``[L, 2]``."""
        return intervals_of(self.values)

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "against": self.against,
            "tasks": len(self.values),
            "layers": list(self.layers),
            "cka": self.mean.tolist(),
            "interval": self.intervals.tolist(),
            "cka_plain": mean_of(self.plain).tolist(),
        }

    def table(self) -> list[list[str]]:  # noqa: D102
        rows = zip(self.layers, self.mean, self.intervals, mean_of(self.plain), strict=True)
        return [
            ["layer", "CKA", "95 %", "plain"],
            *([layer, f"{mean:.3f}", f"{low:.3f} to {high:.3f}", f"{plain:.3f}"]
              for layer, mean, (low, high), plain in rows),
        ]  # fmt: skip


def layer_change(
    learner: Learner,
    sampler: Sampler,
    *,
    layers: Sequence[str] | Mapping[str, str] | None = None,
    steps: int | None = None,
    tasks: int = 100,
    seed: int = 0,
) -> LayerChange:
    """Compare each layer's representation of a task's queries before and after adaptation, by linear CKA.

    A learner with an inner loop is compared with what it starts from. Any other has no such start: it is compared with
    itself adapted to another task, the one before it in the draw, on the same queries; so the first task has no row.

    Args:
        learner: any; it is run in evaluation mode and left in the mode it had.
        sampler: draws the tasks, with 4 queries at least.
        layers: names of modules within the network, or what to call them and their names; default all that have
            parameters of their own, and the raw predictions as ``"answer"``.
        steps: inner steps; default those that the learner takes outside training.
        tasks: how many; two at least for a learner without an inner loop.
        seed: of the draw.

    Raises:
        InputError: for layers that there are not or that did not run, and too few tasks or queries.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 8, 1), lr=0.1, likelihood=il.Gaussian(scale=1.0))
        >>> found = layer_change(maml, il.data.Sinusoid(queries=20), tasks=3)
        >>> found.layers, bool(found.mean[0] > 0.9)
        (('0', '2', '4'), True)
    """
    net = network_of(learner)
    names = named_layers(net, layers)
    starts = isinstance(learner, GradientLearner)
    if not starts and tasks < 2:
        raise InputError(f"{type(learner).__name__} is compared with itself on another task: give 2 tasks at least")
    rows: list[list[tuple[float, float]]] = []
    found: dict[str, None] = {}
    before: State = None
    with evaluating(learner), torch.no_grad():
        for task in each_task(learner, sampler, tasks, seed):
            if isinstance(learner, GradientLearner):
                first, after = _ends(learner, task.support, steps)
            else:
                first, before = before, learner.adapt(task.support)
                if first is None:
                    continue
                after = before
            one, other = (_represented(learner, net, names, state, task.query.x) for state in (first, after))
            found = found or dict.fromkeys(one)
            rows.append([_pair(one[layer], other[layer]) for layer in found])
    values = np.array(rows, dtype=np.float64)
    return LayerChange(tuple(found), values[..., 0], values[..., 1], "start" if starts else "another task")


def network_of(learner: Learner) -> nn.Module:
    """The network whose layers are looked at, with CAVIA's context."""
    return learner.net if isinstance(learner, GradientLearner) else learner.backbone()


def named_layers(net: nn.Module, layers: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    """The names of modules within a network, and what each is called.

    Args:
        net: any module.
        layers: names, or what to call them and their names; default all that have parameters of their own.

    Raises:
        InputError: for a name that it does not have.

    Example:
        >>> import innerloop as il
        >>> named_layers(il.nets.mlp(1, 8, 1), {"head": "2"})
        {'2': 'head'}
    """
    known = [name for name, part in net.named_modules() if name]
    if layers is None:
        own = {name: part for name, part in net.named_modules() if any(True for _ in part.parameters(recurse=False))}
        return {name: name or type(part).__name__ for name, part in own.items()}
    called = (
        {name: called for called, name in layers.items()} if isinstance(layers, Mapping) else {n: n for n in layers}
    )
    for name in called:
        if name not in known:
            raise InputError(f"the network has no layer {name!r}: choose of {', '.join(known)}")
    return called


@contextmanager
def outputs(net: nn.Module, called: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Within, what modules gave when they ran last, in the order in which they ran.

    Args:
        net: any module.
        called: names of modules within, and what each is called in what is found.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with outputs(net, {"0": "first"}) as found:
        ...     _ = net(torch.zeros(4, 2))
        >>> found["first"].shape
        torch.Size([4, 3])
    """
    found: dict[str, Tensor] = {}
    modules = dict(net.named_modules())

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found.pop(name, None)
                found[name] = output

        return hook

    handles = [modules[name].register_forward_hook(keep(title)) for name, title in called.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def input_of_head(learner: Learner, state: State, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What goes into the last layer that has parameters, of several batches.

    Args:
        learner: any, with a network.
        state: by which it predicts.
        inputs: each ``[N, *F]``.

    Raises:
        InputError: for a network without parameters, or whose last layer does not run where it predicts.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(2, 8, 3))
        >>> [z.shape for z in input_of_head(maml, Adapted(maml.initial(3), []), [torch.zeros(5, 2)])]
        [torch.Size([5, 8])]
    """
    name, last = last_layer(network_of(learner))
    seen: list[Tensor] = []
    found = []
    handle = last.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    try:
        for x in inputs:
            seen.clear()
            learner.predict(state, x)
            if not seen:
                raise InputError(f"the last layer {name!r} of {type(learner).__name__} does not run where it predicts")
            found.append(seen[-1])
    finally:
        handle.remove()
    return found


def _represented(
    learner: Learner, net: nn.Module, called: Mapping[str, str], state: State, x: Tensor
) -> dict[str, Tensor]:
    """Each layer's representation of queries ``[Q, *]``, by name, the answer last where no layer is that."""
    with outputs(net, called) as found:
        raw = learner.predict(state, x)
    for title in called.values():
        if title not in found or len(found[title]) != len(x):
            raise InputError(
                f"the layer {title!r} gives no row for each query when the network predicts: leave it out of layers"
            )
    answer = raw.mean(0)
    last = next(reversed(found.values()), None)
    if last is None or last.shape != answer.shape or not torch.equal(last, answer):
        found[ANSWER] = answer
    return dict(found)


def _pair(one: Tensor, other: Tensor) -> tuple[float, float]:
    return float(linear_cka(one, other)), float(linear_cka(one, other, unbiased=False))


def _ends(learner: GradientLearner, support: Examples, steps: int | None) -> tuple[Adapted, Adapted]:
    """The state before the first inner step, and after the last."""
    path = learner.path(support, learner.test_steps if steps is None else steps)
    first = last = next(path)
    for own in path:
        last = own
    return learner.state_of(first, support), learner.state_of(last, support)
