"""How far a learner's probabilities can be trusted, and what it knows of what it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from innerloop.core.learner import Learner
from innerloop.data.episodes import FewShot, Sampler
from innerloop.evaluation import stats
from innerloop.evaluation.reports import plain
from innerloop.evaluation.resampling import Estimate, jackknife
from innerloop.evidence.answers import OTHER_CLASSES, Answers, answers
from innerloop.evidence.reliability import Reliability, reliability
from innerloop.evidence.scoring import LearnedScore, plain_scores
from innerloop.evidence.selective import area_statistic, auroc_statistic, excess_area
from innerloop.evidence.tempering import temperature_of

Floats = npt.NDArray[np.float64]
#: What the learned score is called, and what it stands beside.
LEARNED, PLAIN = "learned", "probability"


@dataclass(frozen=True)
class Calibration:
    """How good the probabilities of a learner are."""

    nll: Estimate
    """The mean negative log likelihood of a query, in nats."""
    brier: Estimate
    """The mean squared distance between probabilities and the one-hot row: 0 to 2."""
    reliability: Reliability
    """In 15 bins of equal width."""
    equal_mass: Reliability
    """In 15 bins of as many queries each."""

    def json(self) -> dict[str, Any]:
        """Plain values that JSON takes."""
        return {
            "nll": estimate_json(self.nll),
            "brier": estimate_json(self.brier),
            "reliability": self.reliability.json(),
            "equal_mass": self.equal_mass.json(),
        }


@dataclass(frozen=True)
class Uncertainty:
    """What :func:`uncertainty` finds."""

    temperature: float
    """By which the logits are divided, found on validation tasks."""
    accuracy: Estimate
    before: Calibration
    after: Calibration
    """With the temperature."""
    area: dict[str, Estimate]
    """The area under risk against coverage by each score, after the temperature: the mean error over all coverages."""
    excess: dict[str, float]
    """That area beyond the one of a score that puts all wrong answers last."""
    area_gain: Estimate
    """How much smaller the area of the learned score is than that of the largest probability, on the same queries."""
    strangers: dict[str, dict[str, Estimate]]
    """Where strangers come from, then score: the AUROC of telling a task's own queries from them, all tasks at once."""
    strangers_gain: dict[str, Estimate]
    """How much larger the AUROC of the learned score is than that of the largest probability, on the same queries; it
    has none where no two validation tasks are without a common class."""
    tasks: int
    validation_tasks: int
    seed: int

    def json(self) -> dict[str, Any]:
        """Plain values that JSON takes."""
        found: dict[str, Any] = plain(
            {
                "temperature": self.temperature,
                "accuracy": estimate_json(self.accuracy),
                "before": self.before.json(),
                "after": self.after.json(),
                "area": {name: estimate_json(one) for name, one in self.area.items()},
                "excess": self.excess,
                "area_gain": estimate_json(self.area_gain),
                "strangers": {
                    place: {name: estimate_json(one) for name, one in scores.items()}
                    for place, scores in self.strangers.items()
                },
                "strangers_gain": {name: estimate_json(one) for name, one in self.strangers_gain.items()},
                "tasks": self.tasks,
                "validation_tasks": self.validation_tasks,
                "seed": self.seed,
            }
        )
        return found

    def __str__(self) -> str:
        """Some lines: calibration before and after, risk and coverage, strangers."""
        lines = [f"temperature {self.temperature:.3g}, from {self.validation_tasks} validation tasks"]
        for name, one in (("as it is", self.before), ("with the temperature", self.after)):
            error = one.reliability
            lines.append(
                f"{name}: calibration error {error.error:.4f} (without noise {_text(Estimate(error.debiased, error.interval))}), "  # noqa: E501
                f"negative log likelihood {_text(one.nll)}, Brier {_text(one.brier)}"
            )
        scores = "; ".join(f"{name} {_text(one)}" for name, one in self.area.items())
        lines.append(f"area under risk against coverage: {scores}; learned less by {_text(self.area_gain, sign=True)}")
        for place, found in self.strangers.items():
            scores = "; ".join(f"{name} {_text(one)}" for name, one in found.items())
            gain = self.strangers_gain.get(place)
            more = f"; learned more by {_text(gain, sign=True)}" if gain is not None else ""
            lines.append(f"{place} told from its own, AUROC: {scores}{more}")
        lines.append(f"{self.tasks} tasks, seed {self.seed}; in brackets 95 % intervals over tasks")
        return "\n".join(lines)


def uncertainty(
    learner: Learner,
    sampler: Sampler,
    validation: Sampler,
    *,
    others: Mapping[str, FewShot] | None = None,
    tasks: int = 1000,
    validation_tasks: int = 600,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Uncertainty:
    """Calibration before and after a temperature, risk against coverage, and the detection of strangers.

    Whatever is fitted (the temperature, the learned score) sees validation tasks alone. The learned score is a logistic
    regression on the plain ones: for the risk it is told which validation answers were right, for strangers which
    queries were of classes that their validation task did not have; other domains it has never seen.

    Args:
        learner: of classes. One with a temperature keeps it, and gets a further one.
        sampler: of test tasks.
        validation: of validation tasks, of as many ways and shots.
        others: other domains by name; the examples must have the shape of the tasks'.
        tasks: test tasks.
        validation_tasks: validation tasks.
        seed: of the test tasks; the validation tasks have the next one.
        device: where to run; default where the learner is.

    Raises:
        InputError: for learners or tasks without classes, fewer than two tasks, or other examples of another shape.

    Example:
        >>> import innerloop as il
        >>> pools = [il.Pool.of(torch.randn(90, 3), [i % 9 for i in range(90)]) for _ in range(2)]
        >>> test, validation = (il.FewShot(pool, ways=3, shots=1, queries=5) for pool in pools)
        >>> found = uncertainty(il.ProtoNet(torch.nn.Identity()), test, validation, tasks=20, validation_tasks=20)
        >>> found.after.nll.value < found.before.nll.value, sorted(found.strangers["other classes"])
        (True, ['distance', 'energy', 'learned', 'probability'])
    """
    few = isinstance(sampler, FewShot) and isinstance(validation, FewShot)
    known = answers(learner, validation, tasks=validation_tasks, seed=seed + 1, strangers=few, device=device)
    before = answers(learner, sampler, tasks=tasks, seed=seed, others=others, strangers=few, device=device)
    temperature = temperature_of(known)
    known, after = known.tempered(temperature), before.tempered(temperature)
    right = after.right.numpy()
    scores = plain_scores(after.likelihood, after.own)
    learned = LearnedScore(known, "right")(after.likelihood, after.own)
    areas = {name: area_statistic(score, right) for name, score in {**scores, LEARNED: learned}.items()}
    strangers: dict[str, dict[str, Estimate]] = {}
    gains: dict[str, Estimate] = {}
    own_score = LearnedScore(known, "own") if OTHER_CLASSES in known.strangers else None
    for place, seen in after.strangers.items():
        theirs, own = plain_scores(after.likelihood, seen), dict(scores)
        if own_score is not None:
            theirs[LEARNED], own[LEARNED] = (own_score(after.likelihood, one) for one in (seen, after.own))
        found = {name: auroc_statistic(own[name], theirs[name]) for name in own}
        strangers[place] = {name: jackknife(one, tasks, bounds=(0, 1)) for name, one in found.items()}
        if own_score is not None:
            gains[place] = _difference(found[LEARNED], found[PLAIN], tasks)
    return Uncertainty(
        temperature=temperature,
        accuracy=_mean(right.mean(1), (0, 1)),
        before=calibration_of_answers(before),
        after=calibration_of_answers(after),
        area={name: jackknife(one, tasks, bounds=(0, 1)) for name, one in areas.items()},
        excess={name: excess_area(score, right) for name, score in {**scores, LEARNED: learned}.items()},
        area_gain=_difference(areas[PLAIN], areas[LEARNED], tasks),
        strangers=strangers,
        strangers_gain=gains,
        tasks=tasks,
        validation_tasks=validation_tasks,
        seed=seed,
    )


def calibration_of_answers(found: Answers) -> Calibration:
    """How good the probabilities among answers are."""
    confidence, right = found.proba.amax(-1).numpy(), found.right.numpy()
    brier = (found.proba - found.y).square().sum(-1).mean(1).numpy()
    return Calibration(
        nll=_mean(found.nll.mean(1).numpy(), None),
        brier=_mean(brier, (0, 2)),
        reliability=reliability(confidence, right),
        equal_mass=reliability(confidence, right, equal="mass"),
    )


def estimate_json(one: Estimate) -> dict[str, Any]:
    """Plain values that JSON takes."""
    return {"value": one.value, "interval": list(one.interval)}


def _mean(values: Floats, bounds: tuple[float, float] | None) -> Estimate:
    return Estimate(float(values.mean()), stats.interval(values, bounds=bounds))


def _difference(first: Any, second: Any, tasks: int) -> Estimate:
    return jackknife(lambda kept: first(kept) - second(kept), tasks)


def _text(one: Estimate, sign: bool = False) -> str:
    form = "+.4f" if sign else ".4f"
    return f"{one.value:{form}} ({one.interval[0]:{form}} to {one.interval[1]:{form}})"
