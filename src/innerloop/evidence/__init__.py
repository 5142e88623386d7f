"""What a few examples are evidence for: refits on subsets of them, and what follows exactly from these."""

from innerloop.evidence.conformal import Ranks, conformal_ranks, joined_misfits, ranks, refit_misfits
from innerloop.evidence.explain import Explanation, Reason, Turn, explain_classes, explain_numbers
from innerloop.evidence.intervals import Intervals, conformal_interval, jackknife_plus
from innerloop.evidence.refits import answered, leave_one_out, others, refits
from innerloop.evidence.shapley import Shapley, example_values

__all__ = [
    "Explanation",
    "Intervals",
    "Ranks",
    "Reason",
    "Shapley",
    "Turn",
    "answered",
    "conformal_interval",
    "conformal_ranks",
    "example_values",
    "explain_classes",
    "explain_numbers",
    "jackknife_plus",
    "joined_misfits",
    "leave_one_out",
    "others",
    "ranks",
    "refit_misfits",
    "refits",
]
