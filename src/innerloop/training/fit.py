"""Meta-training: the outer loop, straight down the page."""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from innerloop.core import distributed, norm
from innerloop.core.learner import Learner
from innerloop.core.lifting import How, fast_layout, lift
from innerloop.core.task import InputError, Task, check, move
from innerloop.data.episodes import Sampler
from innerloop.evaluation.evaluate import check_outputs, evaluate
from innerloop.training.aggregate import (
    Aggregator,
    backward_aggregated,
    backward_weighted,
    make_aggregator,
    make_weighting,
)
from innerloop.training.progress import progress_bar, stop_signal
from innerloop.training.store import History, Store

#: Meta-training batches behind the running statistics.
_CALIBRATION_BATCHES = 10

OptimizerFactory = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


class NonFiniteLoss(ArithmeticError):  # noqa: N818
    """The loss became infinite or NaN; the last good checkpoint is kept."""


def schedule_factor(name: str, progress: float, warmup: float = 0.0) -> float:
    """The learning rate's factor after a share ``progress`` of the run, 0 to 1.

    Args:
        name: ``"constant"``, ``"linear"`` (to 0) or ``"cosine"`` (to 0).
        progress: share of the run that is done.
        warmup: share of the run in which the rate rises linearly from 0.

    Example:
        >>> [round(schedule_factor("cosine", p), 2) for p in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    progress = min(max(progress, 0.0), 1.0)
    if warmup and progress < warmup:
        return progress / warmup
    after = (progress - warmup) / (1 - warmup)
    if name == "constant":
        return 1.0
    if name == "linear":
        return 1 - after
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * after))
    raise InputError(f"schedule {name!r} is unknown; choose constant, linear or cosine, or pass a function")


def fit(
    learner: Learner,
    sampler: Sampler,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    tasks_per_step: int = 4,
    optimizer: str | OptimizerFactory = "Adam",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    schedule: str | SchedulerFactory = "cosine",
    warmup: float = 0.0,
    clip: float | None = None,
    average: float | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    aggregate: str | Aggregator = "mean",
    weighting: str | None = None,
    how: How = "auto",
    chunk: int | None = None,
    precision: str | None = None,
    compiled: bool = False,
    memory: float | None = None,
    validate: Sampler | None = None,
    validate_every: int | None = None,
    validate_tasks: int = 200,
    seed: int = 0,
    device: torch.device | str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    save_seconds: float = 60.0,
    progress: bool = True,
) -> History:
    """Meta-train a learner in place; it ends with its best weights on the validation episodes.

    Everything random in a step follows from ``seed`` and the step's number, so a run that is interrupted and resumed
    has the losses of one that was not, bit for bit (with ``steps``; under ``minutes`` the schedule follows the clock).
    In a process group each rank calls it alike and works on its share of every step's tasks
    (:mod:`innerloop.core.distributed`).

    Args:
        learner: any learner; its ``parameters()`` are trained.
        sampler: draws the meta-training tasks.
        steps: outer steps; 0 leaves the learner untrained.
        minutes: wall-clock budget, validation included. Give ``steps``, ``minutes`` or both (whichever ends first).
        tasks_per_step: tasks in each outer step.
        optimizer: name of a class in ``torch.optim``, or a function from parameters to an optimizer.
        lr: outer learning rate (for a named optimizer).
        weight_decay: of a named optimizer.
        schedule: ``"constant"``, ``"linear"``, ``"cosine"``, or a function from the optimizer to a torch scheduler.
        warmup: share of the run in which a named schedule's rate rises from 0.
        clip: largest norm of the outer gradient.
        average: decay of an exponential moving average of the weights, which is then what is validated and kept.
        reduction: the meta-loss is the ``"mean"`` or the ``"sum"`` over tasks.
        aggregate: how the tasks' gradients become one: ``"mean"``, ``"upgrad"``, ``"mgda"``, ``"pcgrad"``,
            ``"cagrad"``, ``"nashmtl"``, or a function from the Jacobian ``[T, n]`` to ``[n]``
            (:func:`innerloop.training.aggregate.make_aggregator`). All but the mean need ``innerloop[multitask]``.
        weighting: how the tasks' losses are weighted: ``"uncertainty"`` or ``"dwa"``, for known tasks that all take
            part in each step (:class:`innerloop.data.KnownTasks`); ``None``: alike.
        how: see :func:`innerloop.lift`.
        chunk: tasks per backward pass (gradient accumulation); bounds memory.
        precision: of a metric-based learner's encoder in training, see :func:`innerloop.lift`.
        compiled: train through ``torch.compile``, see :func:`innerloop.lift`.
        memory: GiB that a step may take where ``how`` is ``"auto"``, see :func:`innerloop.lift`.
        validate: draws validation tasks, the same at each validation; ``None``: the last weights are the best ones.
        validate_every: steps between validations; default a tenth of the run.
        validate_tasks: how many tasks.
        seed: of all that is random.
        device: where to train; default where the learner is.
        out: folder for ``last.safetensors``, ``best.safetensors`` and ``metrics.jsonl``.
        resume: go on from ``out``'s last checkpoint.
        save_seconds: time between checkpoints.
        progress: show a bar with rate, time left and current score.

    Returns:
        the losses and scores.

    Raises:
        InputError: for a budget, sampler, aggregation or folder that cannot work.
        NonFiniteLoss: if the loss is not finite; the last good checkpoint stays.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> history = il.fit(maml, il.data.Sinusoid(), steps=2, tasks_per_step=3, progress=False)
        >>> len(history.losses)
        2
    """
    if steps is None and minutes is None:
        raise InputError("fit needs a budget: steps=, minutes= or both")
    if (steps is not None and steps < 0) or (minutes is not None and not minutes > 0) or tasks_per_step < 1:
        raise InputError(
            f"steps={steps}, minutes={minutes}, tasks_per_step={tasks_per_step}: steps must be at least 0, minutes "
            f"above 0, tasks_per_step at least 1"
        )
    if (aggregate != "mean") + (weighting is not None) + (reduction != "mean") > 1:
        raise InputError(
            f"reduction={reduction!r}, aggregate={aggregate!r} and weighting={weighting!r} each say what becomes of "
            f"the tasks' losses: change one of them"
        )
    combine = make_aggregator(aggregate, tasks_per_step)
    weights = make_weighting(weighting, sampler, tasks_per_step, learner.likelihood)
    device = torch.device(device) if device else next(learner.parameters()).device
    learner.to(device)
    weights = weights.to(device) if weights is not None else None
    lifted = lift(learner, how, chunk, precision, compiled, memory)
    distributed.begin(lifted, tasks_per_step, combine is not None)
    outer = _optimizer(optimizer, learner, weights, lr, weight_decay)
    base_rates = [group["lr"] for group in outer.param_groups]
    scheduler = None if isinstance(schedule, str) else schedule(outer)
    averaged = AveragedModel(learner, multi_avg_fn=get_ema_multi_avg_fn(average)) if average else None
    kept: Learner = averaged.module if averaged is not None else learner  # type: ignore[assignment]
    history = History()
    parts = {
        "learner": learner,
        "optimizer": outer,
        "scheduler": scheduler,
        "average": averaged,
        "weights": weights,
    }
    store = Store(Path(out), parts, history, resume) if out is not None else None
    best = store.best() if store is not None else None
    if history.how != "auto":
        lifted = lift(learner, history.how, history.chunk, precision, history.compiled)
    step = first = history.step
    start, before, saved = time.monotonic(), history.seconds, time.monotonic()

    def share() -> float:
        """The share of the budget that is used."""
        seconds = before + time.monotonic() - start
        history.seconds = distributed.clock(seconds) if minutes else seconds
        by_steps = (step / steps if steps else 1.0) if steps is not None else 0.0
        return max(by_steps, history.seconds / 60 / minutes if minutes else 0.0)

    def judge() -> None:
        """Calibrate, validate, keep the best."""
        nonlocal best
        if not all(bool(p.isfinite().all()) for p in kept.parameters()):
            raise NonFiniteLoss(
                f"the weights are not finite after step {step}: the run stops. Lower the outer learning rate, or clip "
                f"the gradient (clip=1.0)"
            )
        _calibrate(kept, sampler, tasks_per_step, seed, device)
        score = float(step)
        if validate is not None:
            score = evaluate(kept, validate, tasks=validate_tasks, seed=seed, how=how, chunk=chunk, open=False).score
            history.scores.append((step, score))
        if score >= history.best:
            history.best = score
            best = {name: value.detach().clone() for name, value in kept.state_dict().items()}
            if store is not None:
                store.keep(best)

    def due(used: float) -> bool:
        """Whether a mark was passed since the last validation: a multiple of validate_every, or a tenth of the run."""
        mark = step // validate_every if validate_every else int(10 * used)
        passed, history.mark = mark > history.mark, mark
        return validate is not None and passed

    with stop_signal() as stopping, progress_bar(progress and distributed.rank() == 0, steps, minutes) as bar:
        learner.train()
        learner.zero_grad()
        while (used := share()) < 1.0 and not distributed.anywhere(stopping.is_set()):
            if isinstance(schedule, str):
                for group, rate in zip(outer.param_groups, base_rates, strict=True):
                    group["lr"] = rate * schedule_factor(schedule, used, warmup)
            drawn = sampler.draw(_generator(seed, "train", step), tasks_per_step)
            tasks = move(distributed.own(drawn, tasks_per_step), device)
            if step == first:
                check(drawn)
                _check_learner(learner, tasks)
                distributed.settle(lifted, tasks)
            torch.manual_seed(_mix(seed, f"draws{distributed.rank() or ''}", step))
            if combine is not None:
                losses = backward_aggregated(lifted, tasks, combine, tasks_per_step)
            elif weights is not None:
                losses = backward_weighted(lifted, tasks, weights, tasks_per_step)
            else:
                losses = distributed.backward(lifted, tasks, tasks_per_step, reduction)
            loss = float(losses.mean() if reduction == "mean" else losses.sum())
            if not math.isfinite(loss):
                where = f"the last good checkpoint is {store.last}" if store is not None else "no folder was given"
                raise NonFiniteLoss(
                    f"the loss is {loss} at step {step + 1}: the run stops; {where}. Lower the outer or the inner "
                    f"learning rate, clip the gradient (clip=1.0), or look for extreme inputs"
                )
            if clip is not None:
                nn.utils.clip_grad_norm_(learner.parameters(), clip)
            outer.step()
            outer.zero_grad()
            if scheduler is not None:
                scheduler.step()
            if averaged is not None:
                averaged.update_parameters(learner)
            step += 1
            history.how, history.chunk, history.compiled = lifted.how, lifted.chunk, lifted.compiled
            history.why = lifted.why
            history.rows.append({"step": step, "loss": loss, "lr": float(outer.param_groups[0]["lr"])})
            used = share()
            if due(used) and used < 1.0:
                judge()
                learner.train()
                saved = -math.inf
            if store is not None and time.monotonic() - saved > save_seconds:
                store.save()
                saved = time.monotonic()
            bar(used, loss, history)
        history.stopped = "interrupted" if distributed.anywhere(stopping.is_set()) else "finished"
    if store is not None:
        distributed.first(store.save)
    judged = bool(history.scores) and history.scores[-1][0] == step
    if (history.stopped == "finished" and not judged) or best is None:
        judge()
        if store is not None and history.stopped == "finished":
            distributed.first(store.save)
    if best is not None:
        learner.load_state_dict(best)
    learner.eval()
    return history


def _check_learner(learner: Learner, tasks: Task) -> None:
    """Outputs that fit the targets, where a task has both sets: a mismatch would otherwise train by broadcasting."""
    if tasks.support.x.shape[1] and tasks.query.x.shape[1]:
        with torch.no_grad(), torch.random.fork_rng():
            check_outputs(copy.deepcopy(learner).eval(), tasks)


def _optimizer(
    optimizer: str | OptimizerFactory, learner: Learner, weights: nn.Module | None, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    parameters = [p for p in learner.parameters() if p.requires_grad]
    if not parameters:
        raise InputError("the learner has no parameter that requires a gradient: unfreeze a part, or skip fit")
    parameters += weights.parameters() if weights is not None else []
    if not isinstance(optimizer, str):
        return optimizer(parameters)
    factory = getattr(torch.optim, optimizer, None)
    if not (isinstance(factory, type) and issubclass(factory, torch.optim.Optimizer)):
        raise InputError(f"torch.optim has no optimizer {optimizer!r}: use a name such as Adam, AdamW or SGD")
    options: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
    if "fused" in inspect.signature(factory).parameters and parameters[0].device.type in ("cpu", "cuda", "mps"):
        # One kernel for all parameters, which small networks notice.
        options["fused"] = True
    return factory(parameters, **options)


def _mix(seed: int, use: str, step: int) -> int:
    """A seed of its own for each use and step: nothing random depends on what was drawn before."""
    digest = hashlib.blake2b(f"{seed}/{use}/{step}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def _generator(seed: int, use: str, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(_mix(seed, use, step))


def _calibrate(learner: Learner, sampler: Sampler, tasks: int, seed: int, device: torch.device) -> None:
    """Average the encoder's running statistics over unaugmented meta-training batches, where its policy keeps any."""
    encoder, _ = learner.split()
    if encoder is None or norm.policy(encoder) != "running" or not any(p.requires_grad for p in encoder.parameters()):
        return
    draws = (sampler.plain(_generator(seed, "calibrate", i), tasks) for i in range(_CALIBRATION_BATCHES))
    norm.calibrate(encoder, (_inputs(drawn, device) for drawn in draws), keep=norm.frozen(encoder))


def _inputs(tasks: Task, device: torch.device) -> Tensor:
    return fast_layout(torch.cat((tasks.support.x.flatten(0, 1), tasks.query.x.flatten(0, 1))).to(device))
