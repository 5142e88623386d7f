"""What a few examples are evidence for: refits on subsets of them, and what follows exactly from these."""

from innerloop.evidence.conformal import Ranks, conformal_ranks, joined_misfits, ranks
from innerloop.evidence.refits import leave_one_out, others, refits

__all__ = ["Ranks", "conformal_ranks", "joined_misfits", "leave_one_out", "others", "ranks", "refits"]
