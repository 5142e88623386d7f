"""Learners, a folder for each family."""

from innerloop.learners.generative.anp import ANP, CANP
from innerloop.learners.generative.calibration import DistributionCalibration
from innerloop.learners.generative.cnp import CNP
from innerloop.learners.generative.convcnp import ConvCNP, GridConvCNP
from innerloop.learners.generative.gp import ExactGP, MarginalGP
from innerloop.learners.generative.hallucinator import Hallucinating, Hallucinator
from innerloop.learners.generative.latent_np import NP
from innerloop.learners.generative.metagan import Adversarial, MetaGAN
from innerloop.learners.generative.pfn import InContext
from innerloop.learners.generative.recalibrated import Recalibrated
from innerloop.learners.generative.statistician import Statistician, StatisticianHead
from innerloop.learners.generative.tnp import TNP
from innerloop.learners.generative.versa import AmortisedHead, Versa
from innerloop.learners.metric._embedded import Embedded
from innerloop.learners.metric.protonet import ProtoNet, Prototypes
from innerloop.learners.metric.relationnet import RelationNet, Relations
from innerloop.learners.optimization._gradient import GradientLearner
from innerloop.learners.optimization.maml import MAML
from innerloop.learners.optimization.reptile import Reptile
from innerloop.learners.transfer.finetune import FineTune, LinearHead

__all__ = [
    "ANP",
    "CANP",
    "CNP",
    "MAML",
    "NP",
    "TNP",
    "Adversarial",
    "AmortisedHead",
    "ConvCNP",
    "DistributionCalibration",
    "Embedded",
    "ExactGP",
    "FineTune",
    "GradientLearner",
    "GridConvCNP",
    "Hallucinating",
    "Hallucinator",
    "InContext",
    "LinearHead",
    "MarginalGP",
    "MetaGAN",
    "ProtoNet",
    "Prototypes",
    "Recalibrated",
    "RelationNet",
    "Relations",
    "Reptile",
    "Statistician",
    "StatisticianHead",
    "Versa",
]
