"""Lifting: single-task code run over a batch of tasks.

``vmap``, a loop and chunks give the same losses, predictions and gradients; which is fastest depends on the network and
the machine (``vmap`` for small networks, a loop for per-task convolutions on a CPU), so ``auto`` times them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from innerloop.core import norm
from innerloop.core.auto import choose, key_of
from innerloop.core.compiled import Compiled
from innerloop.core.duplicate import duplicate
from innerloop.core.learner import Learner
from innerloop.core.task import Examples, InputError, Task, count, take

How = Literal["auto", "vmap", "loop", "chunk"]


def lift(
    learner: Learner,
    how: How = "auto",
    chunk: int | None = None,
    precision: str | None = None,
    compiled: bool = False,
    memory: float | None = None,
) -> Lifted:
    """Run a single-task learner over batches of tasks.

    Args:
        learner: written for one task.
        how: ``"vmap"`` (all tasks in one vectorized call), ``"loop"`` (one after the other, the memory of one),
            ``"chunk"`` (vectorized over ``chunk`` tasks at a time), or ``"auto"`` (the fastest on the first batch that
            fits into memory; a later run of the same learner on the same machine remembers it).
        chunk: tasks per backward pass; default all of them, 4 for ``"chunk"``.
        precision: ``"bfloat16"`` or ``"float16"`` runs the encoder of a metric-based learner in mixed precision, where
            the device has it; its features, the head and the loss keep the precision of the data.
        compiled: ``backward`` runs through ``torch.compile``: the same gradients, many times sooner for small networks,
            after a minute of compiling for each shape of batch. With ``"auto"`` it is used where it is faster.
        memory: GiB that ``"auto"`` may take for a batch; default half of what is free on the device.

    Raises:
        InputError: for an unknown ``how`` or ``precision``, a ``chunk`` below 1, a ``memory`` of 0, or a ``precision``
            without an encoder that sees each example alone.

    Example:
        >>> import innerloop as il
        >>> tasks = il.data.Sinusoid(shots=10, queries=5).draw(torch.Generator(), 3)
        >>> maml = il.MAML(il.nets.mlp(1, 40, 40, 1), steps=1, lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> lift(maml, "vmap").loss(tasks).shape
        torch.Size([3])
    """
    if how not in ("auto", "vmap", "loop", "chunk"):
        raise InputError(f"lift(how={how!r}) is unknown; choose auto, vmap, loop or chunk")
    if chunk is not None and chunk < 1:
        raise InputError(f"the chunk is {chunk} tasks; it must be at least 1")
    if memory is not None and not memory > 0:
        raise InputError(f"memory={memory} GiB leaves no room for a task; give a number above 0")
    if precision is not None:
        if precision not in ("bfloat16", "float16"):
            raise InputError(f"precision {precision!r} is unknown; choose bfloat16 or float16, or leave it out")
        encoder, _ = learner.split()
        if encoder is None or not norm.folds(encoder):
            raise InputError(
                f"precision={precision!r} is for learners with an encoder that sees each example alone; "
                f"{type(learner).__name__} has none: leave it out"
            )
    return Lifted(learner, how, 4 if how == "chunk" and chunk is None else chunk, precision, compiled, memory)


class Lifted:
    """A learner over batches of tasks. Made by :func:`lift`."""

    def __init__(
        self,
        learner: Learner,
        how: How,
        chunk: int | None,
        precision: str | None = None,
        compiled: bool = False,
        memory: float | None = None,
    ) -> None:
        self.learner, self.how, self.chunk, self.precision = learner, how, chunk, precision
        self.compiled, self.memory = compiled, memory
        self._step = Compiled(learner, self._losses)
        #: Why ``how`` was chosen, in words, once ``auto`` has chosen.
        self.why = "as asked"

    def loss(self, tasks: Task) -> Tensor:
        """The outer objective of each task, ``[T]``, with a graph."""
        self.settle(tasks, Lifted.loss)
        return torch.cat([self._losses(part) for part in self._parts(tasks)])

    @torch.no_grad()
    def predict(self, tasks: Task) -> Tensor:
        """Raw predictions for each task's queries, ``[T, S, Q, P]``, without a graph."""
        self.settle(tasks, Lifted.predict)
        return torch.cat([self._predictions(part) for part in self._parts(tasks)])

    def backward(self, tasks: Task, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Add the gradient of the mean (or sum) over tasks to the parameters' ``.grad``, one chunk after the other.

        Returns:
            the loss of each task, ``[T]``, detached.
        """
        self.settle(tasks)
        scale = 1 / count(tasks) if reduction == "mean" else 1.0
        backward = self._backward_compiled if self.compiled else self._backward
        return torch.cat([backward(part, scale) for part in self._parts(tasks)])

    def _backward(self, tasks: Task, scale: float) -> Tensor:
        losses = self._losses(tasks)
        (losses.sum() * scale).backward()
        return losses.detach()

    def _backward_compiled(self, tasks: Task, scale: float) -> Tensor:
        losses, gradients = self._step(tasks, scale)
        free = (p for p in self.learner.parameters() if p.requires_grad)
        for parameter, gradient in zip(free, gradients, strict=True):
            if gradient is not None:
                # In memory of the parameter's layout, as autograd leaves it: fused optimizers rely on that.
                if gradient.stride() != parameter.stride():
                    gradient = torch.empty_like(parameter).copy_(gradient)
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return losses

    def _losses(self, tasks: Task) -> Tensor:
        learner, tasks = self._embedded(tasks)
        if self.how != "loop" and not getattr(learner, "first_order", True):
            norm.check_vmap(learner)
        return self._map(learner.loss, tasks)

    def _predictions(self, tasks: Task) -> Tensor:
        learner, tasks = self._embedded(tasks)
        return self._map(lambda task: learner.predict(learner.adapt(task.support), task.query.x), tasks)

    def _parts(self, tasks: Task) -> Iterator[Task]:
        folded = self.encoder() is not None
        size = self.chunk or (1 if self.how == "loop" and not folded else count(tasks))
        for start in range(0, count(tasks), size):
            yield take(tasks, slice(start, start + size))

    def encoder(self) -> nn.Module | None:
        """The part that runs once on all tasks of a batch, where the learner has one and its norm policy allows it."""
        encoder, _ = self.learner.split()
        return encoder if encoder is not None and norm.folds(encoder) else None

    def _embedded(self, tasks: Task) -> tuple[Learner, Task]:
        """The learner that is left to lift, and the tasks that it sees: features where an encoder can run folded."""
        encoder = self.encoder()
        if encoder is None:
            return self.learner, tasks
        (xs, ys), (xq, yq) = tasks
        x = torch.cat((xs.flatten(0, 1), xq.flatten(0, 1)))
        mixed = {"dtype": getattr(torch, self.precision)} if self.precision else {"enabled": False}
        with torch.autocast(x.device.type, **mixed):
            z = embed(encoder, x).to(x.dtype)
        zs, zq = z.split((xs.shape[0] * xs.shape[1], xq.shape[0] * xq.shape[1]))
        features = Task(Examples(zs.unflatten(0, xs.shape[:2]), ys), Examples(zq.unflatten(0, xq.shape[:2]), yq))
        return self.learner.split()[1], features

    def _map(self, function: Callable[[Task], Tensor], tasks: Task) -> Tensor:
        if self.how in ("vmap", "chunk"):
            return torch.func.vmap(function, randomness="different")(_plain_layout(tasks))
        with norm.fused():
            return torch.stack([function(_task_layout(take(tasks, t))) for t in range(count(tasks))])

    def settle(self, tasks: Task, work: Callable[[Lifted, Task], Tensor] | None = None) -> None:
        """Turn ``auto`` into the fastest way of doing ``work``, by default ``Lifted.backward``, on this batch."""
        if self.how != "auto":
            return
        work = work or Lifted.backward

        def way(how: str, chunk: int | None, compiled: bool) -> Callable[[Task], Tensor]:
            learner = duplicate(self.learner)
            return partial(work, Lifted(learner, cast(How, how), chunk, self.precision, compiled))

        encoder = self.encoder()
        asked: dict[str, Any] = {"chunk": self.chunk, "compiled": self.compiled, "memory": self.memory}
        key = key_of(self.learner, tasks, work.__name__, self.precision, asked)
        choice = choose(way, tasks, key, whole=encoder is not None and norm.couples(encoder), **asked)
        self.how, self.chunk = cast(How, choice.how), choice.chunk
        self.compiled, self.why = choice.compiled, choice.why


def embed(encoder: nn.Module, x: Tensor) -> Tensor:
    """Features of a plain batch ``[N, *F]``, in the memory layout that is fastest on the device."""
    return encoder(fast_layout(x))


def _plain_layout(tasks: Task) -> Task:
    """Channels-first, whatever order an encoder left its maps in: under vmap some layers refuse the other one."""
    (xs, ys), (xq, yq) = tasks
    return Task(Examples(xs.contiguous(), ys), Examples(xq.contiguous(), yq))


def _task_layout(task: Task) -> Task:
    (xs, ys), (xq, yq) = task
    return Task(Examples(fast_layout(xs), ys), Examples(fast_layout(xq), yq))


def fast_layout(x: Tensor) -> Tensor:
    """Images in channels-last order on the CPU, where convolution, pooling and batch norm are faster for it.

    With a single channel both orders are the same bytes, and PyTorch takes such a tensor for channels-first; strides
    that only channels-last can have keep every later layer in the fast order.
    """
    if x.ndim != 4 or x.device.type != "cpu":
        return x
    if x.shape[1] > 1:
        return x.contiguous(memory_format=torch.channels_last)
    _, c, h, w = x.shape
    return x.contiguous().as_strided(x.shape, (c * h * w, 1, w * c, c))
