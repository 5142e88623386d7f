"""Validation within a run, and the weights that it ends with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from innerloop.core.facts import Facts
from innerloop.core.learner import Learner
from innerloop.core.modes import evaluating
from innerloop.core.random import generator
from innerloop.core.task import InputError, Task, check, move, take
from innerloop.data.episodes import Sampler
from innerloop.evaluation.evaluate import check_sampler, evaluate
from innerloop.evaluation.reports import Report
from innerloop.evaluation.scoring import check_outputs
from innerloop.training.callbacks import Callback
from innerloop.training.history import History
from innerloop.training.outer import NonFiniteLoss
from innerloop.training.settings import Settings
from innerloop.training.store import Store

#: Meta-training batches that a learner is calibrated on.
CALIBRATION_BATCHES = 10
#: Validation tasks that are looked at before a run.
_FIRST_TASKS = 8


class Validation:
    """Scores the weights now and then, and keeps the best: those of the best score, or the last ones without any.

    Args:
        learner: whose weights are judged, an average where one was asked for.
        sampler: draws the meta-training tasks, to calibrate on.
        validate: draws the validation tasks; ``None``: nothing is scored.
        settings: how often, on how many tasks, from which seed.
        device: where the learner is.
        history: gets the scores.
        store: gets the best weights.
        callbacks: called after each validation.
        facts: of the meta-training tasks, kept with the best weights.
        origin: likewise, where they come from.
    """

    def __init__(
        self,
        learner: Learner,
        sampler: Sampler,
        validate: Sampler | None,
        settings: Settings,
        device: torch.device,
        history: History,
        store: Store,
        callbacks: Sequence[Callback],
        facts: Facts,
        origin: Mapping[str, Any],
    ) -> None:
        self.learner, self.sampler, self.validate, self.settings = learner, sampler, validate, settings
        self.device, self.history, self.store, self.callbacks = device, history, store, callbacks
        self.facts, self.origin = facts, {"seed": settings.seed, **origin}
        #: The best weights so far.
        self.best: dict[str, Tensor] | None = store.best()

    def check(self) -> None:
        """See, before a run, that the learner can be scored on the first validation tasks.

        Raises:
            InputError: for malformed or augmented tasks, tasks without queries, or a learner whose outputs do not fit.
        """
        if self.validate is None:
            return
        count = min(self.settings.validate_tasks, _FIRST_TASKS)
        try:
            check_sampler(self.validate)
            tasks = self.validate.plain(torch.Generator().manual_seed(self.settings.seed), count)
            check(tasks, self.learner.missing)
            self._report(count)
        except InputError as error:
            raise InputError(f"validation: {error}") from None

    def due(self, used: float) -> bool:
        """Whether a mark was passed since the last validation: a multiple of validate_every, or a tenth of the run."""
        every, history = self.settings.validate_every, self.history
        mark = history.step // every if every else int(10 * used)
        passed, history.mark = mark > history.mark, mark
        # The end of the run has a validation of its own.
        return self.validate is not None and passed and used < 1.0

    def judge(self) -> None:
        """Calibrate, score, and keep the weights if no earlier ones were better.

        Raises:
            NonFiniteLoss: for weights that are not finite.
        """
        history = self.history
        self._calibrate()
        if self.validate is None:
            return
        try:
            report = self._report(self.settings.validate_tasks)
        except InputError as error:
            # The first tasks could be scored before the run: it is what has been learned that gives no answers.
            history.scores.append((history.step, math.nan))
            history.unscored = str(error)
            return
        history.scores.append((history.step, report.score))
        # A score that is not a number is none: the last good weights stay.
        if math.isfinite(report.score) and (history.best is None or report.score >= history.best):
            history.best = report.score
            self._keep()
        for callback in self.callbacks:
            callback.on_validation(history.step, report)

    def _report(self, tasks: int) -> Report:
        assert self.validate is not None
        settings = self.settings
        with torch.random.fork_rng():
            return evaluate(
                self.learner, self.validate, tasks=tasks, seed=settings.seed, how=settings.how, chunk=settings.chunk,
                open=False,
            )  # fmt: skip

    def end(self) -> None:
        """Judge the last weights, unless the run is to go on; without any score they are the ones that are kept."""
        history = self.history
        judged = bool(history.scores) and history.scores[-1][0] == history.step
        if self.validate is not None and history.stopped != "interrupted" and not judged:
            self.judge()
        if history.best is None:
            self._calibrate()
            self._keep()

    def _keep(self) -> None:
        self.history.best_step = self.history.step
        self.best = {name: value.detach().clone() for name, value in self.learner.state_dict().items()}
        self.store.keep(self.learner, self.facts, self.origin)

    def _calibrate(self) -> None:
        """Let the learner look at unaugmented meta-training tasks."""
        if not all(bool(p.isfinite().all()) for p in self.learner.parameters()):
            raise NonFiniteLoss(
                f"the weights are not finite after step {self.history.step}: the run stops. Lower the outer learning "
                f"rate, or clip the gradient (clip=1.0)"
            )
        seed, count = self.settings.seed, self.settings.tasks_per_step
        drawn = (self.sampler.plain(generator(seed, "calibrate", i), count) for i in range(CALIBRATION_BATCHES))
        self.learner.calibrate(move(tasks, self.device) for tasks in drawn)


def check_learner(learner: Learner, tasks: Task, scored: bool = False) -> None:
    """Refuse tasks that a learner cannot be trained on: a mismatch would otherwise train by broadcasting.

    Args:
        learner: left as it is.
        tasks: a batch, on the learner's device.
        scored: whether the tasks are to be scored, which takes queries.

    Raises:
        InputError: if outputs do not fit the targets, or there are no queries where they are needed.
    """
    with _looking(learner):
        if tasks.query.x.shape[1] == 0:
            # Reptile, say, learns from support sets alone.
            if scored or not bool(learner.loss(take(tasks, 0)).isfinite()):
                what = "a score" if scored else type(learner).__name__
                raise InputError(
                    f"the tasks have no queries, which {what} needs: build the sampler with queries=15, say"
                )
        elif tasks.support.x.shape[1]:
            check_outputs(learner, tasks)


@contextmanager
def _looking(learner: Learner) -> Iterator[None]:
    """Within, the learner is in evaluation mode and no random number is used up."""
    with evaluating(learner), torch.no_grad(), torch.random.fork_rng():
        yield
