"""What a few examples are evidence for: refits on subsets of them, and what follows exactly from these."""

from innerloop.evidence.adaptation import Adaptation, adaptation
from innerloop.evidence.agreement import Agreement, agreement
from innerloop.evidence.answers import Answers, answers
from innerloop.evidence.attributed import Attribution, Attributions
from innerloop.evidence.attribution import attribute
from innerloop.evidence.cheap import cheap_evidence, own_evidence
from innerloop.evidence.cka import linear_cka
from innerloop.evidence.conformal import Ranks, conformal_ranks, joined_misfits, ranks, refit_misfits
from innerloop.evidence.explanation import Explanation
from innerloop.evidence.freezing import Freezing, freezing
from innerloop.evidence.intervals import Intervals, conformal_interval, jackknife_plus
from innerloop.evidence.layers import LayerChange, layer_change
from innerloop.evidence.quality import score_evidence
from innerloop.evidence.reasons import Reason, Turn
from innerloop.evidence.refits import answered, leave_one_out, others, refits
from innerloop.evidence.reliability import Reliability, reliability
from innerloop.evidence.scores import EvidenceScores
from innerloop.evidence.scoring import LearnedScore, plain_scores
from innerloop.evidence.selective import area_under_risk, auroc, excess_area, risk_coverage
from innerloop.evidence.shapley import Shapley, example_values
from innerloop.evidence.task_space import TaskSpace, task_space
from innerloop.evidence.tempering import tempered
from innerloop.evidence.uncertainty import Calibration, Uncertainty, uncertainty
from innerloop.evidence.why import explain, explain_classes

__all__ = [
    "Adaptation",
    "Agreement",
    "Answers",
    "Attribution",
    "Attributions",
    "Calibration",
    "EvidenceScores",
    "Explanation",
    "Freezing",
    "Intervals",
    "LayerChange",
    "LearnedScore",
    "Ranks",
    "Reason",
    "Reliability",
    "Shapley",
    "TaskSpace",
    "Turn",
    "Uncertainty",
    "adaptation",
    "agreement",
    "answered",
    "answers",
    "area_under_risk",
    "attribute",
    "auroc",
    "cheap_evidence",
    "conformal_interval",
    "conformal_ranks",
    "example_values",
    "excess_area",
    "explain",
    "explain_classes",
    "freezing",
    "jackknife_plus",
    "joined_misfits",
    "layer_change",
    "leave_one_out",
    "linear_cka",
    "others",
    "own_evidence",
    "plain_scores",
    "ranks",
    "refit_misfits",
    "refits",
    "reliability",
    "risk_coverage",
    "score_evidence",
    "task_space",
    "tempered",
    "uncertainty",
]
