"""Learners, a folder for each family."""

from innerloop.learners.metric._embedded import Embedded
from innerloop.learners.metric.protonet import ProtoNet, Prototypes
from innerloop.learners.metric.relationnet import RelationNet, Relations
from innerloop.learners.optimization._gradient import GradientLearner
from innerloop.learners.optimization.maml import MAML
from innerloop.learners.optimization.reptile import Reptile
from innerloop.learners.transfer.finetune import FineTune, LinearHead

__all__ = [
    "MAML",
    "Embedded",
    "FineTune",
    "GradientLearner",
    "LinearHead",
    "ProtoNet",
    "Prototypes",
    "RelationNet",
    "Relations",
    "Reptile",
]
