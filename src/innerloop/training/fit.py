"""Meta-training: the outer loop, straight down the page."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from innerloop.core import checkpoint, distributed
from innerloop.core.device import device_of, find_device
from innerloop.core.duplicate import duplicate
from innerloop.core.learner import Learner, check_learner_kind, stages, tell
from innerloop.core.lifting import How, lift
from innerloop.core.random import generator, mix
from innerloop.core.task import InputError, check, move
from innerloop.data.episodes import Sampler, check_sampler_kind
from innerloop.training import ranks
from innerloop.training.aggregate import Aggregator
from innerloop.training.callbacks import Callback, check_callbacks
from innerloop.training.fingerprint import beginning, check_data
from innerloop.training.history import History
from innerloop.training.objective import Objective
from innerloop.training.outer import Budget, OuterLoop, Update
from innerloop.training.schedule import schedule_factor
from innerloop.training.settings import OptimizerFactory, SchedulerFactory, Settings, optimizers
from innerloop.training.store import BEST, Store
from innerloop.training.validation import Validation, check_learner


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
    callbacks: Sequence[Callback] = (),
    seed: int = 0,
    device: torch.device | str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    save_seconds: float = 60.0,
    origin: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> History:
    """Meta-train a learner in place; it ends with its best weights on the validation episodes.

    Everything random in a step follows from ``seed`` and the step's number, so a run that is interrupted and resumed
    has the losses of one that was not, bit for bit (with ``steps``; under ``minutes`` the schedule follows the clock).
    All options and the first tasks are checked before anything is written.
    In a process group each rank calls it alike and works on its share of every step's tasks
    (:mod:`innerloop.training.ranks`).

    Args:
        learner: any learner; its ``parameters()`` are trained.
        sampler: draws the meta-training tasks.
        steps: outer steps; 0 leaves the learner untrained.
        minutes: wall-clock budget, validation included. Give ``steps``, ``minutes`` or both (whichever ends first).
        tasks_per_step: tasks in each outer step.
        optimizer: name of a class in ``torch.optim``, or a function from parameters to an optimizer.
        lr: outer learning rate (for a named optimizer); :func:`innerloop.training.find_lr` looks for one.
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
        callbacks: called at each step and validation; they may end the run (:class:`innerloop.training.Callback`).
        seed: of all that is random.
        device: where to train; default where the learner is.
        out: folder for ``last.safetensors``, to resume from, ``metrics.jsonl``, and ``best``, the bundle of the best
            weights (:func:`innerloop.load` takes the folder).
        resume: go on from ``out``'s last checkpoint.
        save_seconds: time between checkpoints.
        origin: what the bundle is to say of where it comes from, beside seed, step and score: the data set, say.
        progress: show a bar with rate, time left and current score.

    Returns:
        the losses and scores, and how the run ended.

    Raises:
        InputError: for options, tasks or a folder that cannot work, or data that is not what a resumed run began with.
        NonFiniteLoss: if the loss is not finite; the last good checkpoint stays.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> history = il.fit(maml, il.data.Sinusoid(), steps=2, tasks_per_step=3, progress=False)
        >>> len(history.losses)
        2
    """
    settings = Settings(
        steps=steps, minutes=minutes, tasks_per_step=tasks_per_step, optimizer=optimizer, lr=lr,
        weight_decay=weight_decay, schedule=schedule, warmup=warmup, clip=clip, average=average, reduction=reduction,
        aggregate=aggregate, weighting=weighting, how=how, chunk=chunk, precision=precision, compiled=compiled,
        memory=memory, validate_every=validate_every, validate_tasks=validate_tasks, seed=seed,
        save_seconds=save_seconds,
    )  # fmt: skip
    check_callbacks(callbacks, validate is not None)
    _check_kinds(learner, sampler, validate)
    check_trainable(learner)
    place = find_device(device) if device is not None else device_of(learner)
    lifted = lift(learner.to(place), how, chunk, precision, compiled, memory)
    objective = Objective(lifted, sampler, settings, place)
    update = make_update(learner, objective.weights, settings)
    kept: Any = update.averaged.module if update.averaged is not None else learner
    history, budget = History(), Budget(steps, minutes)
    parts = {
        "learner": learner,
        "optimizer": update.optimizer,
        "scheduler": update.scheduler,
        "average": update.averaged,
        "weights": objective.weights,
    }
    folder = Path(out) if out is not None else None
    with Store(folder, parts, callbacks, history, resume=resume, seconds=save_seconds) as store:
        if history.how != "auto":
            lifted.how, lifted.chunk, lifted.compiled = history.how, history.chunk, history.compiled
            lifted.why = history.why
        if store.began is not None:
            check_data(sampler, seed, store.began)
        first = sampler.draw(generator(seed, "train", history.step), tasks_per_step)
        check(first, learner.missing)
        own = move(ranks.own(first, tasks_per_step), place)
        check_learner(learner, own)
        # One that does not say what its tasks are made of would draw some to see.
        facts = sampler.facts_of(first) if type(sampler).facts is Sampler.facts else sampler.facts
        validation = Validation(
            kept, sampler, validate, settings, place, history, store, callbacks, facts, origin or {}
        )
        validation.check()
        ranks.settle(lifted, own)
        if stages(learner):
            # A way that is wrong for what it computes later is to be refused now.
            learner.train()
            lifted.settle(own)
        began = beginning(sampler, first, tasks_per_step, seed)
        with OuterLoop(
            update, budget, history, callbacks=callbacks, progress=progress,
            begin=lambda: store.begin(kept, began), kept=store.where,
        ) as loop:  # fmt: skip
            learner.train()
            for step, used in loop:
                tell(learner, used)
                if step > history.resumed:
                    drawn = sampler.draw(generator(seed, "train", step), tasks_per_step)
                    own = move(ranks.own(drawn, tasks_per_step), place)
                torch.manual_seed(mix(seed, f"draws{distributed.rank() or ''}", step))
                loss = objective.backward(own)
                used = loop.take(loss)
                history.how, history.chunk, history.compiled = lifted.how, lifted.chunk, lifted.compiled
                history.why = lifted.why
                if validation.due(used):
                    validation.judge()
                    learner.train()
                    store.save()
                store.save_in_time()
            store.save()
            validation.end()
            if history.stopped != "interrupted":
                store.save()
            for callback in callbacks:
                callback.on_end(history)
    if validation.best is not None:
        checkpoint.load_weights(learner, validation.best, f"{out}/{BEST}")
    learner.eval()
    return history


def make_update(learner: Learner, weights: nn.Module | None, settings: Settings) -> Update:
    """The optimizer with its schedule, clipping and averaging, as the settings say.

    Args:
        learner: its parameters that require a gradient are trained.
        weights: a weighting of tasks, which is trained along with it.
        settings: of the run.

    Raises:
        InputError: for an optimizer or a scheduler that does not take these parameters or options.
    """
    parameters = [p for p in learner.parameters() if p.requires_grad]
    parameters += weights.parameters() if weights is not None else []
    optimizer = make_optimizer(parameters, settings)
    factor, scheduler = None, None
    if isinstance(settings.schedule, str):
        factor = partial(schedule_factor, settings.schedule, warmup=settings.warmup)
    else:
        scheduler = settings.schedule(optimizer)
        plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        if plateau or not isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
            raise InputError(
                f"the function for schedule= gives {type(scheduler).__name__}: it must give a torch scheduler that "
                f"steps without a score"
            )
    averaged = None
    if settings.average is not None:
        averaged = AveragedModel(duplicate(learner), multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    return Update(
        optimizer,
        factor=factor,
        scheduler=scheduler,
        clip=settings.clip,
        clipped=list(learner.parameters()),
        learner=learner,
        averaged=averaged,
    )


def _check_kinds(learner: Any, sampler: Any, validate: Any) -> None:
    check_learner_kind(learner, "fit trains")
    check_sampler_kind(sampler, "sampler")
    if validate is not None:
        check_sampler_kind(validate, "validate")


def check_trainable(learner: Learner) -> None:
    """Refuse a learner that has nothing to train.

    Raises:
        InputError: without parameters, with frozen ones alone, or with one whose shape is not known yet.
    """
    parameters = list(learner.parameters())
    if not parameters:
        raise InputError(
            f"{type(learner).__name__} has no parameters to train: adapt and evaluate it as it is, without fit"
        )
    if not any(p.requires_grad for p in parameters):
        raise InputError("the learner has no parameter that requires a gradient: unfreeze a part, or skip fit")
    for name, p in learner.named_parameters():
        if isinstance(p, nn.UninitializedParameter):
            raise InputError(f"the parameter {name!r} has no shape yet: run the network once on an example before fit")


def make_optimizer(parameters: list[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """The optimizer that the settings name, or that their function makes.

    Raises:
        InputError: for one that does not take these parameters or options.
    """
    if not isinstance(settings.optimizer, str):
        made = settings.optimizer(parameters)
        if not isinstance(made, torch.optim.Optimizer):
            raise InputError(f"the function for optimizer= gives {type(made).__name__}: it must give a torch optimizer")
        return made
    factory: Any = optimizers()[settings.optimizer]
    known = inspect.signature(factory).parameters
    options: dict[str, Any] = {"lr": settings.lr}
    if "weight_decay" in known:
        options["weight_decay"] = settings.weight_decay
    elif settings.weight_decay:
        raise InputError(f"{settings.optimizer} has no weight decay: leave it out, or choose another optimizer")
    if "fused" in known and parameters[0].device.type in ("cpu", "cuda", "mps"):
        # One kernel for all parameters, which small networks notice.
        options["fused"] = True
    try:
        return factory(parameters, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"torch.optim.{settings.optimizer} does not take these parameters ({error})") from None
