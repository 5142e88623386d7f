"""How good an explanation is: deletion, wrong labels, agreement with the exact evidence, stability; a value a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from innerloop.evaluation.stats import interval
from innerloop.evidence.ratios import ratio

Floats = npt.NDArray[np.float64]

#: What examples are taken away by where no evidence says which: any, or those of the answer's class first.
ANY, OWN = "at random", "own class at random"


@dataclass(frozen=True)
class Deletion:
    """The deletion test by one order of removal: a row a task, column k is after k examples are gone."""

    probability: Floats
    """Of the answers, the mean of a task's queries, ``[T, K + 1]``."""
    turned: Floats
    """The share of a task's answers that are another one, ``[T, K + 1]``."""
    area: Floats
    """How far the probability is below that of removal at random, the mean over 1 to K, ``[T]``."""


@dataclass(frozen=True)
class EvidenceScores:
    """How good the evidence of a learner is, a value a task: what :func:`score_evidence` gives."""

    deletion: dict[str, Deletion]
    """By evidence, and at random."""
    wrong: dict[str, Floats]
    """AUROC of finding wrong labels by score of suspicion, ``[T]``; none for tasks of single examples a class."""
    agreement: dict[str, tuple[Floats, Floats]]
    """Spearman's and Kendall's rank correlation of each cheap evidence with the exact one, ``[T]`` each."""
    stability: dict[str, Floats]
    """Spearman's rank correlation of each evidence of two learners, ``[T]``, where there is another one."""
    tasks: int
    seed: int
    wrong_labels: int
    """How many each task has."""
    support: int
    """Examples of a support set."""

    def turns(self, name: str, gone: int) -> tuple[float, tuple[float, float]]:
        """How many times as many answers turn as by removal at random, after so many examples, with its interval."""
        return ratio(self.deletion[name].turned[:, gone], self.deletion[ANY].turned[:, gone])

    @property
    def most(self) -> int:
        """How many examples are taken away in the end."""
        return self.deletion[ANY].turned.shape[1] - 1 if self.deletion else 0

    def rows(self) -> list[dict[str, Any]]:
        """Every score as plain values: what it is of, its mean, its 95 % interval over tasks."""
        found = []

        def add(score: str, of: str, values: Floats, bounds: tuple[float, float]) -> None:
            low, high = interval(values, bounds=bounds)
            found.append({"score": score, "of": of, "value": float(values.mean()), "low": low, "high": high})

        for name, one in self.deletion.items():
            for gone in range(1, self.most + 1):
                add(f"answers turned, {gone} of {self.support} removed", name, one.turned[:, gone], (0, 1))
            if name != ANY:
                add("area between", name, one.area, (-1, 1))
                for gone in range(1, self.most + 1):
                    value, (low, high) = self.turns(name, gone)
                    # Where no answer turned at all there is nothing to divide.
                    if value == value:
                        what = f"times random, {gone} removed"
                        found.append({"score": what, "of": name, "value": value, "low": low, "high": high})
        for name, values in self.wrong.items():
            add(f"AUROC of {self.wrong_labels} wrong in {self.support}", name, values, (0, 1))
        for name, (spearman, kendall) in self.agreement.items():
            add("agreement with exact, Spearman", name, spearman, (-1, 1))
            add("agreement with exact, Kendall", name, kendall, (-1, 1))
        for name, values in self.stability.items():
            add("stability, Spearman", name, values, (-1, 1))
        return found

    def json(self) -> dict[str, Any]:
        """The scores as plain values that JSON takes."""
        sizes = {"tasks": self.tasks, "seed": self.seed, "wrong": self.wrong_labels, "support": self.support}
        return {**sizes, "scores": self.rows()}
