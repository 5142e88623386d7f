"""Meta-testing on fixed, seeded episodes."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from innerloop.core import distributed, norm
from innerloop.core.learner import Learner
from innerloop.core.lifting import How, Lifted, embed, lift
from innerloop.core.likelihood import Likelihood
from innerloop.core.task import InputError, Task, check, count, move, take
from innerloop.data.episodes import Episodes, FewShot, Sampler
from innerloop.data.pool import Pool
from innerloop.evaluation import metrics, stats

#: Makes a batch of tasks on the device where they are scored.
Batch = Callable[[], Task]


@dataclass
class Report:
    """A learner's metrics on a set of tasks, one value a task, and how they were had."""

    metric: str
    """``"accuracy"``, ``"roc_auc"`` (assays), ``"log_likelihood"`` (real targets of predicted spread) or ``"mse"``."""
    per_task: dict[str, np.ndarray]
    """Each metric's values, ``[T]``: ``nll`` and the metric; for a predicted spread ``mse`` and ``coverage50``, for two
    ways ``roc_auc`` and ``delta_auprc``, too."""
    norm: str
    transductive: bool
    seed: int
    episodes: str
    """Digest of the tasks: two reports with the same one saw the same tasks."""
    ways: int | None = None
    shots: int | tuple[int, int] | None = None
    """A number, or the smallest and the largest one."""
    queries: int | tuple[int, int | None] | None = None
    calibration_error: float | None = None
    open_tasks: np.ndarray | None = None
    """The metric on episodes that share no class."""
    indices: Episodes | None = field(default=None, repr=False)

    @property
    def tasks(self) -> int:
        """How many tasks."""
        return len(self.per_task[self.metric])

    @property
    def value(self) -> float:
        """The metric's mean over tasks."""
        return float(np.mean(self.per_task[self.metric], dtype=np.float64))

    @property
    def score(self) -> float:
        """The metric's mean, signed so that more is better."""
        return -self.value if self.metric == "mse" else self.value

    @property
    def interval(self) -> tuple[float, float]:
        """Closed 95 % interval: over episodes of this test set."""
        return stats.interval(self.per_task[self.metric])

    @property
    def open_interval(self) -> tuple[float, float] | None:
        """Open 95 % interval: classes and examples as random draws, from episodes that share no class."""
        return stats.interval(self.open_tasks) if self.open_tasks is not None and len(self.open_tasks) > 1 else None

    @property
    def coverage(self) -> dict[str, float] | None:
        """Share of targets within the central 50, 90 and 95 % intervals, where the spread is predicted."""
        found = {k.removeprefix("coverage"): float(np.mean(v)) for k, v in self.per_task.items() if "coverage" in k}
        return found or None

    def json(self) -> dict[str, Any]:
        """The report as plain values; accuracies are shares, 0 to 1."""
        others = ("mse", "accuracy", "roc_auc", "delta_auprc")
        return {
            **{name: float(np.mean(self.per_task[name])) for name in others if name in self.per_task},
            self.metric: self.value,
            "interval": list(self.interval),
            "half_width": (self.interval[1] - self.interval[0]) / 2,
            "open_interval": list(self.open_interval) if self.open_interval else None,
            "nll": float(np.mean(self.per_task["nll"])),
            "calibration_error": self.calibration_error,
            "coverage": self.coverage,
            "tasks": self.tasks,
            "ways": self.ways,
            "shots": self.shots,
            "queries": self.queries,
            "norm": self.norm,
            "transductive": self.transductive,
            "seed": self.seed,
            "episodes": self.episodes,
        }

    def __str__(self) -> str:
        """One line: the mean with its interval, the protocol, the norm policy and whether it is transductive."""
        low, high = self.interval
        scale, unit, digits = (100, " %", 2) if self.metric == "accuracy" else (1, "", 4)
        shots = " to ".join(map(str, self.shots)) if isinstance(self.shots, tuple) else self.shots
        kind = f"{self.ways}-way {shots}-shot" if self.ways else f"{shots}-shot"
        text = f"{kind}: {self.metric} {scale * self.value:.{digits}f} ± {scale * (high - low) / 2:.{digits}f}{unit}"
        wide = self.open_interval
        if wide is not None:
            text += f" (open {scale * wide[0]:.{digits}f} to {scale * wide[1]:.{digits}f})"
        transductive = "transductive" if self.transductive else "not transductive"
        return f"{text}, {self.tasks} tasks, seed {self.seed}, norm {self.norm}, {transductive}"


def evaluate(
    learner: Learner,
    sampler: Sampler,
    *,
    tasks: int = 1000,
    seed: int = 0,
    how: How = "auto",
    chunk: int | None = None,
    open: bool = True,  # noqa: A002
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
        open: also score episodes that share no class, at most ``tasks``, for the open interval (few-shot samplers
            only).
        device: where to run; default where the learner is.

    Raises:
        InputError: if the learner's outputs do not fit the tasks, or the tasks are malformed.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> evaluate(maml, il.data.Sinusoid(), tasks=10).tasks
        10
    """
    if tasks < 1:
        raise InputError(f"evaluation needs at least 1 task, not {tasks}")
    device = torch.device(device) if device else next(learner.parameters(), torch.zeros(0)).device
    modes = {part: part.training for part in learner.modules()}
    learner.to(device).eval()
    try:
        return _evaluate(learner, sampler, tasks, seed, how, chunk, open, device)
    finally:
        for part, mode in modes.items():
            part.training = mode


@torch.no_grad()
def _evaluate(
    learner: Learner,
    sampler: Sampler,
    tasks: int,
    seed: int,
    how: How,
    chunk: int | None,
    open: bool,  # noqa: A002
    device: torch.device,
) -> Report:
    generator = torch.Generator().manual_seed(seed)
    # What is measured follows from the tasks: a learner may well fit one-hot rows by squared error.
    metric = "accuracy" if sampler.classifies else "mse"
    facts: dict[str, Any] = {"norm": learner.norm, "transductive": learner.transductive, "seed": seed}
    facts |= {name: getattr(sampler, name, None) for name in ("ways", "shots", "queries")}
    if isinstance(sampler, FewShot):
        plain = sampler.support_augment is None and sampler.query_augment is None
        if not plain:
            raise InputError("evaluation episodes are not augmented: build the sampler without augment")
        episodes = sampler.episodes(generator, tasks)
        drawn = [episodes, *([sampler.disjoint(generator, tasks)] if open else [])]
        sampler, learner, (used, *independent) = _embed_once(learner, sampler, drawn, device)
        lifted = lift(learner, how)
        binary = facts["ways"] == 2
        per_task, probabilities = _score(lifted, _batches(sampler, used, chunk, device), metric, binary)
        digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in episodes)).hexdigest()[:16]
        if independent and len(independent[0].classes) > 1:
            scored, _ = _score(lifted, _batches(sampler, independent[0], chunk, device), metric)
            facts["open_tasks"] = scored[metric]
        facts |= {"indices": episodes, "calibration_error": probabilities}
    else:
        seen = hashlib.sha256()
        batches = (_hashed(batch, seen) for batch in sampler.batches(generator, tasks))
        slices = (part for batch in batches for part in _slices(batch, chunk or 256, device))
        per_task, facts["calibration_error"] = _score(lift(learner, how), slices, metric, sampler.metric == "roc_auc")
        digest = seen.hexdigest()[:16]
        metric = sampler.metric or ("log_likelihood" if "log_likelihood" in per_task else metric)
    return Report(metric=metric, per_task=per_task, episodes=digest, **facts)


def _hashed(tasks: Task, digest: hashlib._Hash) -> Task:
    """The tasks, which the digest has then seen."""
    for part in tasks:
        for leaf in part:
            digest.update(leaf.cpu().numpy().tobytes())
    return tasks


def _score(
    lifted: Lifted, batches: Iterator[Batch], metric: str, binary: bool = False
) -> tuple[dict[str, np.ndarray], float | None]:
    """Metrics per task, and the calibration error over all queries (where the learner gives probabilities)."""
    likelihood = lifted.learner.likelihood
    sample = next(batches)()
    check(sample, lifted.learner.missing)
    if sample.query.x.shape[1] == 0:
        raise InputError("the tasks have no queries to score: build the sampler with queries=15, say")
    check_outputs(lifted.learner, sample)
    scored: dict[int, dict[str, Tensor]] = {}
    for number, make in distributed.shared(chain([lambda: sample], batches)):
        batch, kept = make(), scored.setdefault(number, {})
        raw = lifted.predict(batch)
        mean = torch.func.vmap(likelihood.mean)(raw)
        nll = torch.func.vmap(likelihood.nll)(raw, batch.query.y).mean(-1)
        score = metrics.accuracy if metric == "accuracy" else metrics.squared_error
        kept[metric] = score(mean, batch.query.y)
        if binary:
            odds, positive = _log_odds(likelihood, raw, batch.query.y), batch.query.y[..., 1]
            kept["roc_auc"] = metrics.roc_auc(odds, positive)
            kept["delta_auprc"] = metrics.delta_auprc(odds, positive)
        if metric == "accuracy" and likelihood.classifies:
            kept["answers"], kept["truths"] = mean.flatten(0, 1), batch.query.y.flatten(0, 1)
        kept["nll"] = nll
        if metric == "mse" and likelihood.spreads:
            kept["log_likelihood"] = -nll
            cdf = torch.func.vmap(likelihood.cdf)(raw, batch.query.y)
            for level in metrics.LEVELS:
                kept[f"coverage{100 * level:.0f}"] = metrics.coverage(cdf, level)
        scored[number] = {name: values.cpu() for name, values in kept.items()}
    parts = distributed.collect(scored)
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    answers, truths = joined.pop("answers", None), joined.pop("truths", None)
    error = metrics.calibration_error(answers, truths) if answers is not None and truths is not None else None
    return {name: values.numpy() for name, values in joined.items()}, error


def _log_odds(likelihood: Likelihood, raw: Tensor, y: Tensor) -> Tensor:
    """Of the second class against the first, ``[T, Q]``: probabilities near 1 round to ties, which have no ranking."""
    nll = torch.func.vmap(likelihood.nll)
    first, second = (torch.eye(2, dtype=y.dtype, device=y.device)[k].expand_as(y) for k in (0, 1))
    return nll(raw, first) - nll(raw, second)


def check_outputs(learner: Learner, tasks: Task) -> None:
    """Refuse a learner whose raw outputs do not fit the tasks' targets, by a trial run on the first one.

    Raises:
        InputError: naming both sizes and the remedy.
    """
    task = take(tasks, 0)
    targets = task.query.y.shape[1]
    wanted = learner.likelihood.size(targets)
    try:
        got = learner.predict(learner.adapt(task.support), task.query.x).shape[-1]
    except InputError:
        raise
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the learner cannot run a task with support x {tuple(task.support.x.shape)} and {targets} target columns "
            f"({str(error).splitlines()[0]}): build its network for that input and output"
        ) from error
    if got != wanted:
        raise InputError(
            f"the learner gives {got} outputs a query, {type(learner.likelihood).__name__} needs {wanted} for "
            f"{targets} target columns: evaluate with the ways that it was built for, or build it with out={wanted}"
        )


def _embed_once(
    learner: Learner, sampler: FewShot, used: list[Episodes], device: torch.device
) -> tuple[FewShot, Learner, list[Episodes]]:
    """The same episodes over features, and the learner on features, where the encoder sees each example alone."""
    encoder, head = learner.split()
    if encoder is None or not norm.folds(encoder):
        return sampler, learner, used
    index = torch.cat([part.flatten() for episodes in used for part in episodes[1:]]).unique()
    features = embed_all(encoder, sampler.pool, index, device)
    if not torch.isfinite(features).all():
        raise InputError(
            f"the encoder gives features that are not finite for some of {len(index)} examples: its training diverged; "
            f"train again with a lower learning rate, or clip the gradient (clip=1.0)"
        )
    # Only what the episodes use, however large the pool is: they count in the table of features from here on.
    table = copy.copy(sampler)
    table.pool = Pool(features, torch.tensor([len(index)]), ("embedded",))
    moved = [Episodes(part.classes, *(torch.searchsorted(index, i) for i in part[1:])) for part in used]
    return table, head, moved


def embed_all(encoder: nn.Module, pool: Pool, index: Tensor, device: torch.device, size: int = 512) -> Tensor:
    """Features of the pool's examples at ``index [n]``: ``[n, *H]``. Of several ranks each embeds its share."""
    own = {i: embed(encoder, pool.get(part).to(device)) for i, part in distributed.shared(index.split(size))}
    if distributed.size() > 1:
        own = {i: part.cpu() for i, part in own.items()}
    return torch.cat(distributed.collect(own)).to(device)


def _batches(sampler: FewShot, episodes: Episodes, chunk: int | None, device: torch.device) -> Iterator[Batch]:
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


def save_report(report: Report, path: str | Path) -> None:
    """Save a report with its episodes and the value of every task, as one safetensors file."""
    from innerloop.core import checkpoint

    tensors = {f"task.{name}": torch.from_numpy(np.ascontiguousarray(v)) for name, v in report.per_task.items()}
    if report.indices is not None:
        tensors |= {f"episodes.{name}": part for name, part in report.indices._asdict().items()}
    checkpoint.save(path, tensors, json.loads(json.dumps(report.json())))
