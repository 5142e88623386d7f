"""Lifting: single-task code run over a batch of tasks.

``vmap``, a loop and chunks give the same losses, predictions and gradients; which is fastest depends on the network and
the machine (``vmap`` for small networks, a loop or patches for per-task convolutions on a CPU), so ``auto`` times them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from innerloop.core import alone, norm, trust
from innerloop.core.auto import Choice, choose
from innerloop.core.compiled import Compiled
from innerloop.core.fingerprint import key_of
from innerloop.core.layout import fast_layout
from innerloop.core.lazy import check_materialized
from innerloop.core.learner import Learner, check_learner_kind, stages
from innerloop.core.numbers import check_count, check_number
from innerloop.core.precision import computes
from innerloop.core.swap import undisturbed
from innerloop.core.task import Examples, InputError, Task, count, take
from innerloop.core.ways import like_inputs, mapped, predictor, worth_trying

How = Literal["auto", "vmap", "loop", "chunk", "patches"]
Work = Literal["loss", "predict", "backward"]


def lift(
    learner: Learner,
    how: How = "auto",
    chunk: int | None = None,
    precision: str | None = None,
    compiled: bool = False,
    memory: float | None = None,
) -> Lifted:
    """Run a single-task learner over batches of tasks.

    A loop is right by definition. Any other way is compared with it on a task or two of the first batch (in float64,
    where the learner runs so), and refused, or left out by ``"auto"``, where its gradient or its predictions differ.

    Args:
        learner: written for one task.
        how: ``"vmap"`` (all tasks in one vectorized call), ``"loop"`` (one after the other, the memory of one),
            ``"chunk"`` (vectorized over ``chunk`` tasks at a time), ``"patches"`` (vectorized, with convolutions as
            matrix products: for small images), or ``"auto"`` (the fastest on the first batch that fits into memory; a
            later run of the same learner on the same machine remembers it).
        chunk: tasks per backward pass; default all of them, 4 for ``"chunk"``.
        precision: ``"bfloat16"`` or ``"float16"`` runs the encoder of a metric-based learner in mixed precision; its
            features, the head and the loss keep the precision of the data. ``"auto"`` takes bfloat16 where the device
            has instructions for it and it is faster on the first batch; without them it is many times slower, and
            a warning says so.
        compiled: ``backward`` runs through ``torch.compile``: the same gradients, many times sooner for small networks,
            after a minute of compiling for each shape of batch. With ``"auto"`` it is used where it is faster.
        memory: GiB that ``"auto"`` may take for a batch; default half of what is free on the device.

    Raises:
        InputError: for an unknown ``how`` or ``precision``, patches that are to be compiled, a ``chunk`` below 1, a
            ``memory`` of 0, a ``precision`` without an encoder that sees each example alone, or lazy layers that have
            seen no batch.

    Example:
        >>> import innerloop as il
        >>> tasks = il.data.Sinusoid(shots=10, queries=5).draw(torch.Generator(), 3)
        >>> maml = il.MAML(il.nets.mlp(1, 40, 40, 1), steps=1, lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> lift(maml, "vmap").loss(tasks).shape
        torch.Size([3])
    """
    if how not in ("auto", "vmap", "loop", "chunk", "patches"):
        raise InputError(f"lift(how={how!r}) is unknown; choose auto, vmap, loop, chunk or patches")
    if how == "patches" and compiled:
        raise InputError("how='patches' cannot be compiled: leave compiled out, or give how='vmap'")
    check_count("chunk", chunk, 1, optional=True)
    check_number("memory, in GiB,", memory, "(0, inf)", optional=True)
    check_learner_kind(learner, "lift takes")
    check_materialized(learner)
    if precision is not None:
        if precision not in ("auto", "bfloat16", "float16"):
            raise InputError(f"precision {precision!r} is unknown; choose auto, bfloat16 or float16, or leave it out")
        encoder, _ = learner.split()
        if precision != "auto" and (encoder is None or not norm.folds(encoder)):
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
        self._asked: dict[str, Any] = {"how": how, "chunk": chunk, "compiled": compiled, "precision": precision}
        #: Gradients or predictions, and the learner's stage.
        self._settled: set[tuple[str, Hashable]] = set()
        self._remembered = False
        self._folds: bool | None = None

    def loss(self, tasks: Task) -> Tensor:
        """The outer objective of each task, ``[T]``, with a graph."""
        return self._run(tasks, "loss", lambda tasks: torch.cat([self._losses(part) for part in self._parts(tasks)]))

    @torch.no_grad()
    def predict(self, tasks: Task) -> Tensor:
        """Raw predictions for each task's queries, ``[T, S, Q, P]``, without a graph."""
        return self._run(
            tasks, "predict", lambda tasks: torch.cat([self._predictions(part) for part in self._parts(tasks)])
        )

    def backward(self, tasks: Task, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Add the gradient of the mean (or sum) over tasks to the parameters' ``.grad``, one chunk after the other.

        Returns:
            the loss of each task, ``[T]``, detached.
        """
        scale = 1 / count(tasks) if reduction == "mean" else 1.0
        return self._run(tasks, "backward", lambda tasks: self._backward(tasks, scale))

    @property
    def choice(self) -> Choice:
        """How it is lifted, and why; :meth:`settle` has settled what was left to ``auto``."""
        return Choice(self.how, self.chunk, self.compiled, self.precision, self.why, folds=self._folds)

    def adopt(self, choice: Choice) -> None:
        """Lift as another has settled it."""
        self.how, self.chunk, self.compiled = cast(How, choice.how), choice.chunk, choice.compiled
        self.precision, self.why = choice.precision, choice.why
        self._folds = self._folds if choice.folds is None else choice.folds
        self._settled.add(("gradient", stages(self.learner)))

    def _run(self, tasks: Task, work: Work, run: Callable[[Task], Tensor]) -> Tensor:
        tasks = like_inputs(tasks)
        self.settle(tasks, work)
        if not self._remembered:
            return run(tasks)
        self._remembered = False
        kept = [(p, None if p.grad is None else p.grad.clone()) for p in self.learner.parameters()]
        try:
            return run(tasks)
        except Exception as error:
            # What was remembered no longer works: the forward pass or the machine has changed. Try all ways again.
            for p, gradient in kept:
                p.grad = gradient
            if self.how == self._asked["how"] == "loop":
                raise
            line = (str(error).splitlines() or [type(error).__name__])[0]
            self._choose(tasks, work, afresh=True)
            self.why = f"what was remembered failed ({line}); {self.why}"
            return run(tasks)

    def settle(self, tasks: Task, work: Work = "backward") -> None:
        """Turn ``auto`` into the fastest way on this batch, and see that the way can be believed; once.

        Args:
            tasks: the first batch.
            work: what is to be run on it: ``"loss"``, ``"predict"`` or ``"backward"``.

        Raises:
            InputError: for a way that was asked for and whose results are not the loop's.
        """
        kind = ("predict", ()) if work == "predict" else ("gradient", stages(self.learner))
        if kind in self._settled or torch.is_inference_mode_enabled() or torch._C._functorch.peek_interpreter_stack():
            return
        self._try_folding(tasks)
        self._warn_of_precision(tasks)
        if self.how == "auto" or self.precision == "auto":
            self._choose(tasks, work, afresh=False)
        elif self.how != "loop" or (self.compiled and work == "backward"):
            complaint, note = self._doubt(tasks, work)
            if complaint is not None and self._asked["how"] != "auto":
                raise InputError(complaint)
            if complaint is not None:
                # Chosen at another stage of the learner, or by an earlier process.
                self.how, self.compiled, self.why = "loop", False, complaint
            if note is not None:
                self.why = f"{self.why}; {note}"
        self._settled.add(kind)

    def _choose(self, tasks: Task, work: Work, afresh: bool) -> None:
        """Take the fastest way that can be believed."""
        how, compiled, precision = self._asked["how"], self._asked["compiled"], self._asked["precision"]
        encoder, device = self.encoder(), tasks.query.x.device
        precisions: list[str | None] = [None if precision == "auto" else precision]
        if precision == "auto" and encoder is not None and work != "predict" and computes("bfloat16", device):
            precisions.append("bfloat16")
        notes: dict[str, None] = {}
        rest = self.learner if encoder is None else self.learner.split()[1]
        ways = worth_trying(rest, device, compiled) if how == "auto" else (how,)

        def lifted(choice: Choice) -> Lifted:
            other = Lifted(self.learner, cast(How, choice.how), choice.chunk, choice.precision, choice.compiled)
            other._settled, other._folds = {("predict", ()), ("gradient", stages(self.learner))}, self._folds
            return other

        def step(choice: Choice) -> Callable[[Task], Tensor]:
            way = lifted(choice)

            def run(tasks: Task) -> Tensor:
                self.learner.zero_grad()
                return getattr(way, work)(tasks)

            return run

        def doubt(choice: Choice) -> str | None:
            if choice.how == "loop" and not choice.compiled:
                return None
            complaint, note = lifted(choice)._doubt(tasks, work)
            notes.update({note: None} if note else {})
            return complaint

        with undisturbed(self.learner):
            choice = choose(
                step,
                doubt,
                tasks,
                key_of(
                    self.learner,
                    tasks,
                    work,
                    {**self._asked, "memory": self.memory, "precisions": precisions, "ways": ways},
                ),
                ways=ways,
                chunk=self._asked["chunk"],
                whole=encoder is not None and norm.couples(encoder),
                compiled=(False, True) if compiled and how == "auto" and work == "backward" else (compiled,),
                precisions=precisions,
                memory=self.memory,
                afresh=afresh,
            )
        self.adopt(choice)
        self._remembered = choice.remembered
        if notes:
            self.why = f"{self.why}; {'; '.join(notes)}"

    def _doubt(self, tasks: Task, work: Work) -> trust.Finding:
        """What is wrong with this way's results on the first batch, and what could not be compared."""
        found = trust.Finding(None)
        if self.how != "loop":
            few = take(tasks, slice(0, 2 if min(self.chunk or count(tasks), count(tasks)) > 3 else 1))
            with undisturbed(self.learner), torch.no_grad():
                learner, few = self._embedded(few)
            encoder = self.encoder()
            trained = encoder is not None and any(p.requires_grad for p in encoder.parameters())
            how = "patches" if self.how == "patches" else "vmap"
            found = trust.under_vmap(learner, few, how, by_inputs=trained, values=work == "predict")
        if found.complaint is None and self.compiled and work == "backward":
            part, loose = next(iter(self._parts(tasks))), self.precision is not None
            complaint = trust.compiled(self.learner, self._step, self._step_plain, part, 1 / count(tasks), loose)
            return trust.Finding(complaint, found.note)
        return found

    def _step_plain(self, tasks: Task, scale: float) -> tuple[Tensor, list[Tensor | None]]:
        """What :class:`Compiled` gives, not compiled."""
        with torch.enable_grad():
            losses = self._losses(tasks)
            free = [p for p in self.learner.parameters() if p.requires_grad]
            return losses.detach(), list(torch.autograd.grad(losses.sum() * scale, free, allow_unused=True))

    def _try_folding(self, tasks: Task) -> None:
        """Find out whether the encoder sees each example alone, where its layers do not tell."""
        encoder, _ = self.learner.split()
        if self._folds is not None or encoder is None or not norm.folds(encoder):
            return
        self._folds = alone.folds(encoder, tasks.query.x.flatten(0, 1))
        if self.precision not in (None, "auto") and not self._folds:
            raise InputError(
                f"precision={self.precision!r} is for encoders that see each example alone, and in "
                f"{type(encoder).__name__} the features of an example change with the others: leave it out"
            )

    def _warn_of_precision(self, tasks: Task) -> None:
        device = tasks.query.x.device
        if self.precision in ("bfloat16", "float16") and not computes(self.precision, device):
            warnings.warn(
                f"this {device.type} has no instructions for {self.precision} and emulates it, many times slower than "
                f"float32: leave precision out, or give precision='auto'",
                RuntimeWarning,
                stacklevel=5,
            )

    def _backward(self, tasks: Task, scale: float) -> Tensor:
        backward = self._backward_compiled if self.compiled else self._backward_plain
        return torch.cat([backward(part, scale) for part in self._parts(tasks)])

    def _backward_plain(self, tasks: Task, scale: float) -> Tensor:
        losses = self._losses(tasks)
        if not losses.requires_grad:
            raise InputError(
                f"the loss of {type(self.learner).__name__} depends on no parameter that is trained: there is nothing "
                f"to train, adapt and evaluate it as it is"
            )
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
        return mapped(self.how, learner.loss, tasks)

    def _predictions(self, tasks: Task) -> Tensor:
        learner, tasks = self._embedded(tasks)
        return mapped(self.how, predictor(learner), tasks)

    def _parts(self, tasks: Task) -> Iterator[Task]:
        folded = self.encoder() is not None
        size = self.chunk or (1 if self.how == "loop" and not folded else count(tasks))
        for start in range(0, count(tasks), size):
            yield take(tasks, slice(start, start + size))

    def encoder(self) -> nn.Module | None:
        """The part that runs once on all tasks of a batch, where the learner has one that sees each example alone."""
        encoder, _ = self.learner.split()
        return encoder if encoder is not None and self._folds is not False and norm.folds(encoder) else None

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


def embed(encoder: nn.Module, x: Tensor) -> Tensor:
    """Features of a plain batch ``[N, *F]``, in the memory layout that is fastest on the device."""
    return encoder(fast_layout(x))
