"""Learners, a folder for each family."""

from innerloop.learners.continual.agem import AGEM
from innerloop.learners.continual.ewc import EWC
from innerloop.learners.continual.joint import Joint
from innerloop.learners.continual.lamaml import CMAML, LaMAML
from innerloop.learners.continual.mer import MER
from innerloop.learners.continual.naive import Naive
from innerloop.learners.continual.oml import ANML, OML, OnlineHead
from innerloop.learners.continual.replay import ExperienceReplay
from innerloop.learners.embedded import Embedded
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
from innerloop.learners.generative.versa import AmortizedHead, Versa
from innerloop.learners.head import Head
from innerloop.learners.heads.block import Blocks, MixedRidge
from innerloop.learners.heads.gaussian import GaussianClasses
from innerloop.learners.heads.learned import LearnedKernel
from innerloop.learners.heads.linear import LinearHead
from innerloop.learners.heads.logistic import LogisticRegression
from innerloop.learners.heads.nearest import NearestNeighbor
from innerloop.learners.heads.primed import Primed
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.learners.heads.ridge import Ridge
from innerloop.learners.heads.scaled import Scaled
from innerloop.learners.heads.soft_means import SoftMeans
from innerloop.learners.heads.spans import Spans
from innerloop.learners.heads.stacked import Stacked
from innerloop.learners.heads.tanimoto import Tanimoto
from innerloop.learners.metric.protonet import ProtoNet
from innerloop.learners.metric.relationnet import RelationNet, Relations
from innerloop.learners.metric.views import NearestView
from innerloop.learners.optimization.anil import ANIL
from innerloop.learners.optimization.boil import BOIL
from innerloop.learners.optimization.cavia import CAVIA
from innerloop.learners.optimization.gradient import GradientLearner
from innerloop.learners.optimization.imaml import IMAML
from innerloop.learners.optimization.maml import MAML
from innerloop.learners.optimization.mamlplusplus import MAMLPlusPlus
from innerloop.learners.optimization.metasgd import MetaSGD
from innerloop.learners.optimization.reptile import Reptile
from innerloop.learners.raw_or_learned import RawOrLearned
from innerloop.learners.tempered import Tempered
from innerloop.learners.transfer.contrastive import Contrastive, ContrastiveHead
from innerloop.learners.transfer.finetune import FineTune
from innerloop.learners.transfer.multitask import MultiTask, TaskHeads
from innerloop.learners.transfer.rotation import Rotation
from innerloop.learners.under_views import UnderViews

__all__ = [
    "AGEM",
    "ANIL",
    "ANML",
    "ANP",
    "BOIL",
    "CANP",
    "CAVIA",
    "CMAML",
    "CNP",
    "EWC",
    "IMAML",
    "MAML",
    "MER",
    "NP",
    "OML",
    "TNP",
    "Adversarial",
    "AmortizedHead",
    "Blocks",
    "Contrastive",
    "ContrastiveHead",
    "ConvCNP",
    "DistributionCalibration",
    "Embedded",
    "ExactGP",
    "ExperienceReplay",
    "FineTune",
    "GaussianClasses",
    "GradientLearner",
    "GridConvCNP",
    "Hallucinating",
    "Hallucinator",
    "Head",
    "InContext",
    "Joint",
    "LaMAML",
    "LearnedKernel",
    "LinearHead",
    "LogisticRegression",
    "MAMLPlusPlus",
    "MarginalGP",
    "MetaGAN",
    "MetaSGD",
    "MixedRidge",
    "MultiTask",
    "Naive",
    "NearestNeighbor",
    "NearestView",
    "OnlineHead",
    "Primed",
    "ProtoNet",
    "Prototypes",
    "RawOrLearned",
    "Recalibrated",
    "RelationNet",
    "Relations",
    "Reptile",
    "Ridge",
    "Rotation",
    "Scaled",
    "SoftMeans",
    "Spans",
    "Stacked",
    "Statistician",
    "StatisticianHead",
    "Tanimoto",
    "TaskHeads",
    "Tempered",
    "UnderViews",
    "Versa",
]
