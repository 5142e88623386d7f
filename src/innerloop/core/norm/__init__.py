"""Normalization as a named policy, never an accident.

============  =========================================================================================================
``group``     GroupNorm: an example is normalized by itself, nothing leaks between examples.
``support``   the statistics of the support set, kept in the state and used for the queries.
``running``   frozen statistics at test time, calibrated by a separate pass over the meta-training pool.
``batch``     the statistics of whatever batch is at hand: on the query set, **transductive**.
``none``      no normalization layer at all.
============  =========================================================================================================

The policy of a learner is printed with each of its scores.
"""

from innerloop.core.norm.calibration import calibrate
from innerloop.core.norm.conversion import convert
from innerloop.core.norm.kernel import convolved
from innerloop.core.norm.layers import BatchNorm, Layer, SupportNorm, affine, layer, moved, track
from innerloop.core.norm.policies import (
    POLICIES,
    check_inner_loop,
    couples,
    folds,
    freeze_running,
    frozen,
    learning,
    policy,
    policy_of,
    suspect,
)
from innerloop.core.norm.ranks import over_ranks
from innerloop.core.norm.replay import Statistics, fused, recording, replaying

__all__ = [
    "POLICIES",
    "BatchNorm",
    "Layer",
    "Statistics",
    "SupportNorm",
    "affine",
    "calibrate",
    "check_inner_loop",
    "convert",
    "convolved",
    "couples",
    "folds",
    "freeze_running",
    "frozen",
    "fused",
    "layer",
    "learning",
    "moved",
    "over_ranks",
    "policy",
    "policy_of",
    "recording",
    "replaying",
    "suspect",
    "track",
]
