"""Several learners on several sets of tasks: each example is embedded once by each encoder, whoever else needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

import torch
from torch import nn

from innerloop.core.device import device_of, find_device
from innerloop.core.learner import Learner
from innerloop.core.modes import evaluating
from innerloop.data.digest import digest_of
from innerloop.data.episodes import Sampler
from innerloop.data.fixed import Fixed
from innerloop.evaluation.evaluate import embed_once, evaluate
from innerloop.evaluation.reports import Report


def judged(
    learners: Mapping[str, Learner],
    tasks: Mapping[str, Sampler],
    *,
    number: int,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> dict[str, dict[str, Report]]:
    """Evaluate every learner on every set of tasks; all learners see the same ones.

    What an encoder makes of an example is computed once for all learners that share the encoder (a fine-tuned network,
    and several heads on its features) and for all sets of tasks that share a pool.

    Args:
        learners: by name.
        tasks: by name; :class:`~innerloop.data.fixed.Fixed` ones are embedded once.
        number: of tasks of each.
        seed: of those that are drawn.
        device: where to run; default where each learner is.

    Returns:
        by learner, then by tasks, the report.

    Example:
        >>> import innerloop as il
        >>> pool = il.Pool.of(torch.rand(40, 3), [i % 8 for i in range(40)])
        >>> sampler = il.FewShot(pool, ways=5, shots=1, queries=2)
        >>> given = Fixed(pool, sampler.episodes(torch.Generator().manual_seed(0), 4))
        >>> found = judged({"prototypes": il.learners.Prototypes()}, {"given": given, "drawn": sampler}, number=4)
        >>> found["prototypes"]["given"].value == found["prototypes"]["drawn"].value
        True
    """
    found: dict[str, dict[str, Report]] = {name: {} for name in learners}
    for _, group in groupby(sorted(tasks.items(), key=lambda one: _pool(one[1])), key=lambda one: _pool(one[1])):
        own = dict(group)
        for names, encoder in _by_encoder(learners):
            place = find_device(device) if device is not None else device_of(learners[names[0]])
            given = {name: one for name, one in own.items() if isinstance(one, Fixed)}
            table = _embedded(learners[names[0]], given, number, place) if given and encoder is not None else None
            for name in names:
                for what, sampler in own.items():
                    seen, learner = sampler, learners[name]
                    if table is not None and what in given:
                        seen, learner = table[what], learner.split()[1]
                    found[name][what] = evaluate(learner, seen, tasks=number, seed=seed, open=False, device=place)
    return {name: {what: reports[what] for what in tasks} for name, reports in found.items()}


def _pool(sampler: Sampler) -> int:
    return id(sampler.pool) if isinstance(sampler, Fixed) else 0


def _by_encoder(learners: Mapping[str, Learner]) -> Iterator[tuple[list[str], nn.Module | None]]:
    """The names of the learners that have an encoder in common, and it."""
    known: dict[str, tuple[list[str], nn.Module | None]] = {}
    for name, learner in learners.items():
        encoder = learner.split()[0]
        key = name if encoder is None else digest_of(repr(encoder), encoder.state_dict())
        known.setdefault(key, ([], encoder))[0].append(name)
    yield from known.values()


def _embedded(
    learner: Learner, tasks: Mapping[str, Fixed], number: int, device: torch.device
) -> dict[str, Fixed] | None:
    """The tasks over features, where the learner's encoder sees each example alone."""
    first = next(iter(tasks.values()))
    used = [one.episodes(torch.Generator(), number) for one in tasks.values()]
    with evaluating(learner.to(device)), torch.no_grad():
        table, rest, moved = embed_once(learner, first, used, device)
    return None if rest is learner else {name: Fixed(table.pool, one) for name, one in zip(tasks, moved, strict=True)}
