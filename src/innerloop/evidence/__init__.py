"""What a few examples are evidence for: refits on subsets of them, and what follows exactly from these."""

from innerloop.evidence.answers import Answers, answers
from innerloop.evidence.conformal import Ranks, conformal_ranks, joined_misfits, ranks, refit_misfits
from innerloop.evidence.explain import Explanation, Reason, Turn, explain_classes, explain_numbers
from innerloop.evidence.intervals import Intervals, conformal_interval, jackknife_plus
from innerloop.evidence.refits import answered, leave_one_out, others, refits
from innerloop.evidence.reliability import Reliability, reliability
from innerloop.evidence.scoring import LearnedScore, plain_scores
from innerloop.evidence.selective import area_under_risk, auroc, excess_area, risk_coverage
from innerloop.evidence.shapley import Shapley, example_values
from innerloop.evidence.tempering import tempered
from innerloop.evidence.uncertainty import Calibration, Uncertainty, uncertainty

__all__ = [
    "Answers",
    "Calibration",
    "Explanation",
    "Intervals",
    "LearnedScore",
    "Ranks",
    "Reason",
    "Reliability",
    "Shapley",
    "Turn",
    "Uncertainty",
    "answered",
    "answers",
    "area_under_risk",
    "auroc",
    "conformal_interval",
    "conformal_ranks",
    "example_values",
    "excess_area",
    "explain_classes",
    "explain_numbers",
    "jackknife_plus",
    "joined_misfits",
    "leave_one_out",
    "others",
    "plain_scores",
    "ranks",
    "refit_misfits",
    "refits",
    "reliability",
    "risk_coverage",
    "tempered",
    "uncertainty",
]
