"""One episode to look at, with a learner's answers."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from torch import Tensor

from innerloop.core.duplicate import duplicate
from innerloop.core.learner import Learner
from innerloop.core.lifting import lift
from innerloop.core.task import InputError, Task, take
from innerloop.data.episodes import Episodes, FewShot, Sampler
from innerloop.evaluation.reports import Report
from innerloop.report.plots import image
from innerloop.report.section import Section
from innerloop.report.subject import Subject, drawable, letter


class Picture(NamedTuple):
    """One episode to look at."""

    names: tuple[str, ...]
    """The classes, ``[ways]``."""
    task: Task
    """Images in 0 to 1, ``[N, C, H, W]``, and one-hot rows ``[N, ways]``."""
    probabilities: Tensor
    """What the learner answers, ``[Q, ways]``."""


def picture(learner: Learner, sampler: FewShot, report: Report, number: int = 0) -> Picture:
    """One of the episodes that a report was made from, with the learner's answers.

    Args:
        learner: the one that was evaluated.
        sampler: the one that it was evaluated on; its pool holds images of 1 or 3 channels.
        report: what :func:`innerloop.evaluate` gave.
        number: which episode, 0 to ``report.tasks - 1``.

    Raises:
        InputError: if the report holds no such episode, or the pool no images.
    """
    if report.indices is None or not 0 <= number < report.tasks:
        raise InputError(f"the report of {report.tasks} tasks keeps no few-shot episode number {number} to show")
    if len(sampler.pool.shape) != 3 or sampler.pool.shape[0] not in (1, 3):
        raise InputError(f"a picture needs images [1 or 3, H, W], the examples have shape {sampler.pool.shape}")
    episode = Episodes(*(part[number : number + 1] for part in report.indices))
    task = sampler.gather(episode)
    raw = lift(duplicate(learner).to(task.query.x.device).eval(), "loop").predict(task)[0]
    names = tuple(sampler.pool.names[c] for c in episode.classes[0].tolist())
    return Picture(names, take(task, 0), learner.likelihood.mean(raw))


def episode_section(one: Subject, sampler: Sampler, number: int = 0) -> Section | None:
    """One of the tasks that a learner was scored on, where its examples are images."""
    if not isinstance(sampler, FewShot) or len(sampler.pool.shape) != 3 or sampler.pool.shape[0] not in (1, 3):
        return None
    shown = picture(one.learner, sampler, one.report, number)
    if not drawable(shown.task.support.x):
        return None
    said = shown.probabilities.max(1)
    facts = {
        "learner": one.name,
        "task": number,
        "classes": list(shown.names),
        "answers": [
            {"class": shown.names[truth], "answer": shown.names[kind], "probability": share}
            for truth, kind, share in zip(
                shown.task.query.y.argmax(1).tolist(), said.indices.tolist(), said.values.tolist(), strict=True
            )
        ],
    }
    return Section("episode", f"Test task {number}, by {one.name}", tiles(shown), facts)


def tiles(shown: Picture, most: int = 6) -> str:
    """The support images by class, and the first ``most`` queries of each with the answers."""
    (support, query), parts = shown.task, []
    ways, (confidence, answer) = len(shown.names), shown.probabilities.max(1)
    right = answer == query.y.argmax(1)
    for i, name in enumerate(shown.names):
        items = [
            f'<li class="tile support">{image(x, f"support example of class {letter(i)}, {name}")}support</li>'
            for x in support.x[support.y[:, i] == 1]
        ]
        for j in query.y[:, i].nonzero()[:most, 0].tolist():
            kind, mark = ("right", "✓") if right[j] else ("wrong", "✗")
            said, share = int(answer[j]), f"{100 * float(confidence[j]):.0f} %"
            alt = f"query of class {letter(i)}, taken for class {letter(said)}, {shown.names[said]}: {kind}"
            shot = image(query.x[j], alt)
            items.append(f'<li class="tile {kind}">{shot}<b>{mark} {letter(said)}</b> {share}</li>')
        parts.append(f"<h3>{letter(i)} <small>{escape(name)}</small></h3>\n<ul>{''.join(items)}</ul>\n")
    shots, queries = len(support.x) // ways, len(query.x) // ways
    some = f"the first {most} of {queries}" if queries > most else f"all {queries}"
    text = (
        f"<p>Each row is a class that was never trained on. The learner sees its {shots} labeled support "
        f"image{'s' if shots > 1 else ''}; then come {some} queries of the class, each with its answer and the "
        f"probability. ✓ in a thin frame: right; ✗ in a thick dashed frame: wrong. Of all {len(right)} queries of this "
        f"episode {int(right.sum())} are right.</p>\n"
    )
    return text + "".join(parts)
