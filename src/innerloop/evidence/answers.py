"""What a learner answers to the queries of many tasks, and to strangers, which belong to none of a task's classes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Generator, Tensor, nn

from innerloop.core.device import device_of, find_device
from innerloop.core.learner import Learner
from innerloop.core.lifting import Lifted, embed, lift
from innerloop.core.likelihood import Likelihood
from innerloop.core.modes import evaluating
from innerloop.core.numbers import check_count
from innerloop.core.random import SEEDS, seeded
from innerloop.core.task import Examples, InputError, Task, count
from innerloop.data.episodes import Episodes, FewShot, Sampler
from innerloop.evaluation.evaluate import check_sampler, embed_once, episode_batches
from innerloop.evaluation.scoring import Batch

#: What queries of classes that a task does not have are called among the strangers.
OTHER_CLASSES = "other classes"


@dataclass(frozen=True)
class Seen:
    """Raw predictions, and how far the features lie from the nearest class."""

    raw: Tensor
    """Double precision, ``[T, S, Q, P]``."""
    distance: Tensor | None
    """From the nearest class's mean support feature, ``[T, Q]``; ``None`` of learners without an encoder that sees
    each example alone."""

    def tempered(self, temperature: float) -> Seen:
        """The same of the learner whose logits are divided by a temperature."""
        return Seen(self.raw / temperature, self.distance)


@dataclass(frozen=True)
class Answers:
    """A learner's answers to the queries of ``T`` tasks, on the CPU."""

    likelihood: Likelihood
    own: Seen
    y: Tensor
    """One-hot rows of the queries, ``[T, Q, D]``."""
    strangers: dict[str, Seen] = field(default_factory=dict)
    """Answers to queries that belong to none of a task's classes, by where they come from."""

    @property
    def tasks(self) -> int:
        """T."""
        return len(self.y)

    def tempered(self, temperature: float) -> Answers:
        """The answers of the learner whose logits are divided by a temperature."""
        strangers = {name: seen.tempered(temperature) for name, seen in self.strangers.items()}
        return Answers(self.likelihood, self.own.tempered(temperature), self.y, strangers)

    @cached_property
    def proba(self) -> Tensor:
        """Class probabilities, ``[T, Q, D]``."""
        return probabilities(self.likelihood, self.own)

    @cached_property
    def right(self) -> Tensor:
        """Whether the most probable class is the true one, bool ``[T, Q]``."""
        return self.proba.argmax(-1) == self.y.argmax(-1)

    @cached_property
    def nll(self) -> Tensor:
        """Negative log likelihood of each query in nats, ``[T, Q]``."""
        return torch.func.vmap(self.likelihood.nll)(self.own.raw, self.y)


def probabilities(likelihood: Likelihood, seen: Seen) -> Tensor:
    """Class probabilities, ``[T, Q, D]``."""
    return torch.func.vmap(likelihood.mean)(seen.raw)


def answers(
    learner: Learner,
    sampler: Sampler,
    *,
    tasks: int = 1000,
    seed: int = 0,
    others: Mapping[str, FewShot] | None = None,
    strangers: bool = False,
    device: torch.device | str | None = None,
) -> Answers:
    """Adapt to each of ``tasks`` fixed tasks, those of :func:`innerloop.evaluate`, and keep what is answered.

    Args:
        learner: of classes; it runs in evaluation mode and is left in the mode it had.
        sampler: draws the tasks.
        tasks: how many.
        seed: of the draw.
        others: other domains by name, whose queries are asked too, as many as a task has of its own.
        strangers: whether to ask queries of classes that a task does not have, too (few-shot samplers only): those of
            another of the tasks, which shares no class. There are none where a task shares one with every other.
        device: where to run; default where the learner is.

    Raises:
        InputError: for a learner or tasks without classes, or others whose examples have another shape.

    Example:
        >>> import innerloop as il
        >>> pool = il.Pool.of(torch.randn(60, 3), [i % 6 for i in range(60)])
        >>> found = answers(il.ProtoNet(nn.Identity()), il.FewShot(pool, ways=2, shots=1, queries=2), tasks=4)
        >>> found.proba.shape, found.own.distance.shape
        (torch.Size([4, 4, 2]), torch.Size([4, 4]))
    """
    check_sampler(sampler)
    if not (sampler.classifies and learner.likelihood.classifies):
        raise InputError("calibration and what follows from it is of classes: the learner and its tasks must have some")
    check_count("tasks", tasks, 2)
    device = find_device(device) if device is not None else device_of(learner)
    with evaluating(learner.to(device)), torch.no_grad():
        return _answers(learner, sampler, tasks, seed, dict(others or {}), strangers, device)


def _answers(
    learner: Learner,
    sampler: Sampler,
    tasks: int,
    seed: int,
    others: dict[str, FewShot],
    strangers: bool,
    device: torch.device,
) -> Answers:
    generator, whole, encoder = seeded(seed), learner, None
    if isinstance(sampler, FewShot):
        episodes = sampler.episodes(generator, tasks)
        foreign = _of_other_classes(episodes) if strangers else None
        used = [episodes, *([Episodes(foreign[:, :0], foreign[:, :0], foreign)] if foreign is not None else [])]
        shape = sampler.pool.shape
        sampler, learner, used = embed_once(whole, sampler, used, device)
        encoder = whole.split()[0] if learner is not whole else None
        batches: Iterator[Task] = map(_made, episode_batches(sampler, used[0], None, device))
        pool, index = sampler.pool, used[1].query if foreign is not None else None
    else:
        batches, index, shape = sampler.batches(generator, tasks), None, ()
    drawn = {name: Generator().manual_seed((seed + 1) % SEEDS) for name in others}
    for name, other in others.items():
        if other.pool.shape != shape:
            raise InputError(
                f"{name} has examples {tuple(other.pool.shape)}, the tasks {tuple(shape)}: read it at that size"
            )
    lifted, own, truth, done = lift(learner), [], [], 0
    found: dict[str, list[Seen]] = {name: [] for name in ([OTHER_CLASSES] if index is not None else []) + [*others]}
    for batch in batches:
        size = count(batch)
        truth.append(batch.query.y.cpu().double())
        parts = [batch.query.x]
        if index is not None:
            parts.append(pool.get(index[done : done + size]).to(device))
        for name, other in others.items():
            x = other.draw(drawn[name], size).query.x.to(device)
            parts.append(x if encoder is None else _embedded(encoder, x))
        # A task is learned once, whoever asks, unless its answers depend on who asks beside.
        asked = [parts] if not whole.transductive else [[part] for part in parts]
        seen = [one for together in asked for one in _seen(lifted, batch, together, encoder is not None)]
        own.append(seen[0])
        for kept, one in zip(found.values(), seen[1:], strict=True):
            kept.append(one)
        done += size
    others_joined = {name: _joined(parts) for name, parts in found.items()}
    return Answers(copy.deepcopy(learner.likelihood).cpu(), _joined(own), torch.cat(truth), others_joined)


def _made(make: Batch) -> Task:
    return make()


def _of_other_classes(episodes: Episodes) -> Tensor | None:
    """Queries of the next episode that has no class in common with each, ``[T, Q]``; ``None`` if one finds none."""
    classes, total = episodes.classes, len(episodes.classes)
    found = []
    for task in range(total):
        order = torch.arange(task + 1, task + total) % total
        shared = torch.isin(classes[order], classes[task]).any(1)
        if bool(shared.all()):
            return None
        found.append(episodes.query[order[int((~shared).nonzero()[0])]])
    return torch.stack(found)


def _embedded(encoder: nn.Module, x: Tensor) -> Tensor:
    """Features of ``[T, Q, *F]``."""
    parts = [embed(encoder, part) for part in x.flatten(0, 1).split(512)]
    return torch.cat(parts).unflatten(0, x.shape[:2])


def _seen(lifted: Lifted, tasks: Task, parts: list[Tensor], features: bool) -> list[Seen]:
    """Answers to several query sets of the tasks, asked together."""
    x, sizes = torch.cat(parts, 1), [part.shape[1] for part in parts]
    # What is asked has no targets.
    query = Examples(x, x.new_zeros(*x.shape[:2], tasks.query.y.shape[2]))
    raw = lifted.predict(Task(tasks.support, query)).cpu().double().split(sizes, 2)
    if not features:
        return [Seen(part, None) for part in raw]
    (x, y), z = tasks.support, query.x.flatten(2).double()
    sums = torch.einsum("tnd,tnh->tdh", y.double(), x.flatten(2).double())
    means = sums / y.double().sum(1).clamp(min=1e-12).unsqueeze(2)
    distance = torch.cdist(z, means).amin(2).cpu().split(sizes, 1)
    return [Seen(*both) for both in zip(raw, distance, strict=True)]


def _joined(parts: list[Seen]) -> Seen:
    distances = [part.distance for part in parts if part.distance is not None]
    return Seen(torch.cat([part.raw for part in parts]), torch.cat(distances) if distances else None)
