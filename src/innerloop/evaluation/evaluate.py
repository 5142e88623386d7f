"""Meta-testing on fixed, seeded episodes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from innerloop.core import distributed
from innerloop.core.alone import folds, looks_at_other_queries
from innerloop.core.device import device_of, find_device
from innerloop.core.learner import Learner, check_learner_kind
from innerloop.core.lifting import How, embed, lift
from innerloop.core.metric import Metric
from innerloop.core.modes import evaluating
from innerloop.core.numbers import check_count
from innerloop.core.random import seeded
from innerloop.core.task import InputError, Task, count, move, take
from innerloop.data.digest import digest_of
from innerloop.data.episodes import Episodes, FewShot, Sampler, check_sampler_kind
from innerloop.data.pool import Pool
from innerloop.evaluation.content import episodes_digest
from innerloop.evaluation.metrics import AnyMetric, as_metrics
from innerloop.evaluation.reports import Report
from innerloop.evaluation.scoring import Batch, Wanted, no_queries, score


def evaluate(
    learner: Learner,
    sampler: Sampler,
    *,
    tasks: int = 1000,
    seed: int = 0,
    how: How = "auto",
    chunk: int | None = None,
    open: bool = True,  # noqa: A002
    metrics: Sequence[AnyMetric] = (),
    device: torch.device | str | None = None,
) -> Report:
    """Adapt to each of ``tasks`` fixed tasks and score its queries.

    Where the learner has an encoder that sees each example alone, every example is embedded once and only the head runs
    per episode, which changes nothing but the time. No parameter and no buffer of the learner changes. In a process
    group each rank calls it alike, scores its share, and has the whole report.

    Args:
        learner: any learner; it is run in evaluation mode and left in the mode it had.
        sampler: draws the tasks.
        tasks: how many.
        seed: of the draw; the same seed gives the same tasks for every learner.
        how: see :func:`innerloop.lift`.
        chunk: tasks at a time; default by size.
        open: whether the report has an open interval, too (few-shot samplers only).
        metrics: what else to measure on each task: an :class:`innerloop.Metric`, any metric of torchmetrics, or a
            function from the class probabilities (or predictive means) ``[Q, D]`` and the targets ``[Q, D]`` of a task
            to a number, of which higher is better.
        device: where to run; default where the learner is.

    Returns:
        the values of all metrics on all tasks; a task for which the learner has no finite prediction ends nothing, the
        report names it.

    Raises:
        InputError: if the learner's outputs do not fit the tasks, or the tasks are malformed, augmented, or have no
            queries.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> evaluate(maml, il.data.Sinusoid(), tasks=10).tasks
        10
    """
    check_count("tasks", tasks, 1)
    check_learner_kind(learner, "evaluate judges")
    check_sampler(sampler)
    asked = as_metrics(metrics, sampler.classifies)
    device = find_device(device) if device is not None else device_of(learner)
    with evaluating(learner.to(device)):
        return _evaluate(learner, sampler, tasks, seed, how, chunk, open, asked, device)


def check_sampler(sampler: Sampler) -> None:
    """Refuse a sampler whose tasks cannot be judged on, whatever kind it is.

    Raises:
        InputError: if it is no sampler, augments, or gives no queries.
    """
    check_sampler_kind(sampler, "sampler")
    if sampler.augmented:
        raise InputError("evaluation episodes are not augmented: build the sampler without augment")
    if getattr(sampler, "queries", None) == 0:
        raise no_queries()


@torch.no_grad()
def _evaluate(
    learner: Learner,
    sampler: Sampler,
    tasks: int,
    seed: int,
    how: How,
    chunk: int | None,
    open: bool,  # noqa: A002
    asked: list[Metric],
    device: torch.device,
) -> Report:
    generator = seeded(seed)
    facts: dict[str, Any] = {"norm": learner.norm, "seed": seed}
    facts |= {name: getattr(sampler, name, None) for name in ("ways", "shots", "queries")}
    facts |= {"asked": tuple(metric.name for metric in asked), "weights": digest_of(learner.state_dict())}
    wanted = Wanted(sampler.classifies, facts["ways"] == 2, sampler.metric, asked)
    if isinstance(sampler, FewShot):
        episodes = sampler.episodes(generator, tasks)
        facts["episodes"] = episodes_digest(sampler.pool, episodes)
        first = _gathered(sampler, Episodes(*(part[:1] for part in episodes)), device)
        facts["transductive"] = looks_at_other_queries(learner, take(first, 0))
        whole = learner
        sampler, learner, (used,) = embed_once(learner, sampler, [episodes], device)
        lifted, features = lift(learner, how), learner is not whole
        scores = score(lifted, episode_batches(sampler, used, chunk, device), wanted, features)
        facts |= {"open": open, "indices": episodes}
    else:
        seen = hashlib.sha256()
        batches = (_hashed(batch, seen) for batch in sampler.batches(generator, tasks))
        slices = (part for batch in batches for part in _slices(batch, chunk or 256, device))
        first = next(slices)()
        facts["transductive"] = looks_at_other_queries(learner, take(first, 0))
        scores = score(lift(learner, how), chain([lambda: first], slices), wanted)
        facts["episodes"] = seen.hexdigest()[:16]
    return Report(
        metric=scores.metric, per_task=scores.per_task, metrics=scores.metrics, failed=scores.failed,
        calibration_error=scores.calibration_error, **facts,
    )  # fmt: skip


def _hashed(tasks: Task, digest: hashlib._Hash) -> Task:
    """The tasks, which the digest has then seen."""
    for part in tasks:
        for leaf in part:
            digest.update(leaf.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return tasks


def embed_once(
    learner: Learner, sampler: FewShot, used: list[Episodes], device: torch.device
) -> tuple[FewShot, Learner, list[Episodes]]:
    """The same episodes over features, and the learner on features, where the encoder sees each example alone."""
    encoder, head = learner.split()
    index = torch.cat([part.flatten() for episodes in used for part in episodes[1:]]).unique()
    if encoder is None or not folds(encoder, sampler.pool.get(index[:4]).to(device)):
        return sampler, learner, used
    features = embed_all(encoder, sampler.pool, index, device)
    if not torch.isfinite(features).any():
        raise InputError(
            f"the encoder gives features that are not finite for any of {len(index)} examples: its training diverged; "
            f"train again with a lower learning rate, or clip the gradient (clip=1.0)"
        )
    # Only what the episodes use, however large the pool is: they count in the table of features from here on.
    table = copy.copy(sampler)
    table.pool = _Features(features, torch.tensor([len(index)]), ("embedded",))
    moved = [Episodes(part.classes, *(torch.searchsorted(index, i) for i in part[1:])) for part in used]
    return table, head, moved


class _Features(Pool):
    """What an encoder gives; a few examples may overflow, which is then seen in the tasks that use them."""

    def __post_init__(self) -> None:
        """Nothing to check."""


def embed_all(encoder: nn.Module, pool: Pool, index: Tensor, device: torch.device, size: int = 512) -> Tensor:
    """Features of the pool's examples at ``index [n]``: ``[n, *H]``. Of several ranks each embeds its share."""
    own = {i: embed(encoder, pool.get(part).to(device)) for i, part in distributed.shared(index.split(size))}
    if distributed.size() > 1:
        own = {i: part.cpu() for i, part in own.items()}
    return torch.cat(distributed.collect(own)).to(device)


def episode_batches(sampler: FewShot, episodes: Episodes, chunk: int | None, device: torch.device) -> Iterator[Batch]:
    """Episodes as batches of tasks, each made when it is asked for."""
    # About 30 million numbers at a time: the pairs of a relation network are the largest case.
    pairs = episodes.support.shape[1] * episodes.query.shape[1] * max(64, int(np.prod(sampler.pool.shape)))
    size = chunk or max(1, min(100, 30_000_000 // max(1, pairs)))
    for start in range(0, len(episodes.classes), size):
        yield partial(_gathered, sampler, Episodes(*(part[start : start + size] for part in episodes)), device)


def _gathered(sampler: FewShot, episodes: Episodes, device: torch.device) -> Task:
    return move(sampler.gather(episodes), device)


def _slices(tasks: Task, size: int, device: torch.device) -> Iterator[Batch]:
    for start in range(0, count(tasks), size):
        yield partial(move, take(tasks, slice(start, start + size)), device)
