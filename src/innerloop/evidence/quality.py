"""Scoring the evidence of a learner on tasks: every score of each task, by the same refits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from innerloop.core.device import device_of
from innerloop.core.learner import Learner
from innerloop.core.numbers import check_count, check_number
from innerloop.core.random import SEEDS, seeded
from innerloop.core.task import Examples, InputError, Task, move, take
from innerloop.data.episodes import Sampler
from innerloop.evaluation.evaluate import check_sampler
from innerloop.evidence.agreement import agreement
from innerloop.evidence.cheap import cheap_evidence
from innerloop.evidence.deletion import Removal, area, drawn_orders, greedy, own_first, removed
from innerloop.evidence.judging import embedded, judging
from innerloop.evidence.refits import answered, others
from innerloop.evidence.scores import ANY, OWN, Deletion, EvidenceScores, Floats
from innerloop.evidence.selective import auroc
from innerloop.evidence.suspicion import SUSPICIONS, by_evidence, closed, mislabeled, refits_of
from innerloop.evidence.turns import added_odds

#: What the exact evidence is called, and that which is found anew after each example that goes.
LEFT_OUT, GREEDY = "leave-one-out", "leave-one-out, step by step"
#: Refits that a score of suspicion takes without being asked for, of a learner that has no closed form.
_MOST = 100
#: Examples that are taken away at most, unless more are asked for.
_GONE = 5


class Wanted(NamedTuple):
    """What is scored of each task."""

    wrong: float
    removals: int | None
    orders: int
    thorough: bool
    deletion: bool
    labels: bool
    other: Learner | None


class TaskScores(NamedTuple):
    """All scores of one task, by the names of evidences."""

    deletion: dict[str, tuple[Removal, Tensor]]
    """With the area between it and removal at random, ``[Q]``."""
    wrong: dict[str, float]
    agreement: dict[str, tuple[float, float]]
    stability: dict[str, float]
    support: int
    wrong_labels: int


def score_evidence(
    learner: Learner,
    sampler: Sampler,
    *,
    tasks: int = 100,
    seed: int = 0,
    wrong: float = 0.04,
    removals: int | None = None,
    orders: int = 5,
    thorough: bool = False,
    deletion: bool = True,
    labels: bool = True,
    other: Learner | None = None,
    progress: Callable[[int], None] | None = None,
) -> EvidenceScores:
    """Score the evidence that a learner's support sets give.

    Args:
        learner: any that tells classes and is not transductive; it is run in evaluation mode, where it is.
        sampler: draws the tasks.
        tasks: how many.
        seed: of the tasks, of the labels that are made wrong and of removal at random.
        wrong: the share of support examples that get another class's label, one at least, where labels are looked for.
        removals: how many examples are taken away in the end; default one less than a class has, five at
            most.
        orders: of removal at random, whose mean is compared with.
        thorough: whether to take the time, for any learner, for scores of suspicion by many refits, and for removal by
            what leave-one-out says anew after each example.
        deletion: whether examples are taken away at all.
        labels: whether labels are made wrong.
        other: the learner of another training, whose evidence is compared on the same tasks.
        progress: is told the number of tasks that are done.

    Raises:
        InputError: for tasks of numbers, and sizes that cannot be.

    Example:
        >>> import innerloop as il
        >>> pool = il.data.Pool.of(torch.randn(40, 6), [i % 4 for i in range(40)])
        >>> sampler = il.data.FewShot(pool, ways=3, shots=3, queries=2)
        >>> found = score_evidence(il.learners.Prototypes(), sampler, tasks=4)
        >>> found.most, sorted(found.deletion)
        (2, ['at random', 'leave-one-out', 'own class at random', 'prototypes', 'similarity'])
    """
    _check(sampler, tasks, wrong, orders)
    wanted = Wanted(wrong, removals, orders, thorough, deletion, labels, other)
    device, generator = device_of(learner), seeded(seed)
    found: list[TaskScores] = []
    for batch in sampler.batches(generator, tasks):
        for place in range(len(batch.support.x)):
            own = Generator().manual_seed((seed * 1_000_003 + len(found)) % SEEDS)
            found.append(score_task(learner, move(take(batch, place), device), wanted, own))
            if progress is not None:
                progress(len(found))
    return EvidenceScores(
        deletion={name: _stacked([one.deletion[name] for one in found]) for name in found[0].deletion},
        wrong={name: np.array([one.wrong[name] for one in found]) for name in found[0].wrong},
        agreement={name: _pair([one.agreement[name] for one in found]) for name in found[0].agreement},
        stability={name: np.array([one.stability[name] for one in found]) for name in found[0].stability},
        tasks=tasks,
        seed=seed,
        wrong_labels=found[0].wrong_labels,
        support=found[0].support,
    )


def score_task(learner: Learner, task: Task, wanted: Wanted, generator: Generator) -> TaskScores:
    """All scores of one task.

    Args:
        learner: as for :func:`score_evidence`.
        task: on the learner's device.
        wanted: what is scored.
        generator: of the labels that are made wrong and of removal at random.
    """
    with judging(learner):
        seen, support, x = embedded(learner, task.support, task.query.x)
        count = len(support.x)
        shots = int(support.y.sum(0).max())
        most = max(1, min(_GONE, shots - 1)) if wanted.removals is None else wanted.removals
        evidence, answers = evidences(seen, support, x)
        exact = evidence[LEFT_OUT].cpu()
        taken = _deletion(seen, support, x, evidence, answers, most, wanted, generator) if wanted.deletion else {}
        agrees = {name: ranks_agree(one.cpu(), exact) for name, one in evidence.items() if name != LEFT_OUT}
        faults = min(count - 1, max(1, round(wanted.wrong * count)))
        labels: dict[str, float] = {}
        if shots > 1 and wanted.labels:
            # Of single examples no other one tells what their label should be.
            rows, at = mislabeled(support.y, faults, generator)
            found = suspected(seen, Examples(support.x, rows), wanted.thorough)
            scored = {name: score.double().cpu().numpy() for name, score in found.items()}
            labels = {name: auroc(score[at.numpy()], score[~at.numpy()]) for name, score in scored.items()}
    stability: dict[str, float] = {}
    if wanted.other is not None:
        with judging(wanted.other):
            part, known, z = embedded(wanted.other, task.support, task.query.x)
            again, _ = evidences(part, known, z, answers)
        stability = {
            name: ranks_agree(one.cpu(), again[name].cpu())[0] for name, one in evidence.items() if name in again
        }
    return TaskScores(taken, labels, agrees, stability, count, faults)


def evidences(
    learner: Learner, support: Examples, x: Tensor, answers: Tensor | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """The exact evidence and all that the learner has without refits, ``[Q, N]`` by name, and the answers ``[Q]``.

    Args:
        learner: in evaluation mode.
        support: of the task.
        x: queries.
        answers: the classes that are explained; default the learner's.
    """
    if answers is None:
        everything = torch.arange(len(support.x), device=support.x.device).unsqueeze(0)
        answers = answered(learner, support, everything, x)[0].argmax(1)
    found = {LEFT_OUT: left_out(learner, support, x, answers)}
    return found | cheap_evidence(learner, support, x, answers), answers


def left_out(learner: Learner, support: Examples, x: Tensor, answers: Tensor) -> Tensor:
    """The exact evidence: the log odds of each answer less those without an example, ``[Q, N]``.

    Example:
        >>> import innerloop as il
        >>> support = Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> left_out(il.learners.Prototypes(), support, torch.tensor([[4.0]]), torch.tensor([0]))
        tensor([[-3.,  5., -inf]])
    """
    count, device = len(support.x), support.x.device
    whole = answered(learner, support, torch.arange(count, device=device).unsqueeze(0), x)[0]
    return added_odds(whole, answered(learner, support, others(count, device), x), answers).mT


def suspected(learner: Learner, support: Examples, thorough: bool = False) -> dict[str, Tensor]:
    """Scores of suspicion by name, ``[N]`` each: those that take a moment, or all, and what cheap evidence gives."""
    quick = thorough or closed(learner)
    affordable = {name: one for name, one in SUSPICIONS.items() if quick or refits_of(name, len(support.x)) <= _MOST}
    return {name: one(learner, support) for name, one in affordable.items()} | by_evidence(learner, support)


def ranks_agree(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Spearman's and Kendall's rank correlation, the mean over rows ``[Q, N]``; of a row that is all alike it is 0.

    Example:
        >>> ranks_agree(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]]))
        (1.0, 1.0)
    """
    found = [agreement(*row) for row in zip(one.double().numpy(), other.double().numpy(), strict=True)]
    spearman, kendall = np.nan_to_num(np.array(found)).mean(0)
    return float(spearman), float(kendall)


def _deletion(
    learner: Learner,
    support: Examples,
    x: Tensor,
    evidence: Mapping[str, Tensor],
    answers: Tensor,
    most: int,
    wanted: Wanted,
    generator: Generator,
) -> dict[str, tuple[Removal, Tensor]]:
    asked = partial(answered, learner, support, x=x)
    drawn = drawn_orders(len(support.x), len(x), wanted.orders, generator).to(support.x.device)
    random = removed(asked, drawn, most)
    # The same for all queries of a class, but not for all of them: two of the orders are enough.
    by = {OWN: own_first(drawn[:2], support.y, answers)}
    by |= {name: one.argsort(dim=1, descending=True, stable=True) for name, one in evidence.items()}
    if wanted.thorough:
        by[GREEDY] = greedy(asked, len(support.x), most)
    found = {ANY: (random, torch.zeros_like(random.turned[:, 0]))}
    for name, orders in by.items():
        one = removed(asked, orders, most)
        found[name] = one, area(one, random)
    return found


def _stacked(parts: list[tuple[Removal, Tensor]]) -> Deletion:
    """The means of each task's queries."""
    probability = np.stack([removal.probability.mean(0).cpu().numpy() for removal, _ in parts])
    turned = np.stack([removal.turned.mean(0).cpu().numpy() for removal, _ in parts])
    return Deletion(probability, turned, np.array([float(between.mean()) for _, between in parts]))


def _pair(values: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    one, other = np.array(values).T
    return one, other


def _check(sampler: Sampler, tasks: int, wrong: float, orders: int) -> None:
    check_sampler(sampler)
    if not sampler.classifies:
        raise InputError("evidence is scored on tasks of classes, and this sampler's tasks are of numbers")
    check_count("tasks", tasks, 1)
    check_count("orders", orders, 1)
    check_number("the share of wrong labels", wrong, "(0, 1)")
