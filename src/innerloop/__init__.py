"""innerloop: meta-learning for PyTorch.

Train on many small tasks, then learn a new one from a handful of examples. A learner is a fold over data, written for
one task: ``adapt(support) -> state``, ``predict(state, x) -> raw``. The engine lifts it over batches of tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from innerloop import acting, bundle, continual, core, data, nets
from innerloop.bundle import load, save
from innerloop.core import inner, norm
from innerloop.core.freeze import freeze, unfreeze
from innerloop.core.learner import Learner, State
from innerloop.core.lifting import Lifted, lift
from innerloop.core.likelihood import Bars, Categorical, Gaussian, Likelihood
from innerloop.core.metric import Metric
from innerloop.core.targets import examples, one_hot
from innerloop.core.task import Examples, InputError, Task
from innerloop.core.version import VERSION
from innerloop.data.episodes import Batches, FewShot, Sampler
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.evaluation.compare import compare
from innerloop.evaluation.evaluate import evaluate
from innerloop.evaluation.reports import Report
from innerloop.evaluation.stats import paired
from innerloop.learners import (
    AGEM,
    ANIL,
    ANML,
    ANP,
    BOIL,
    CANP,
    CAVIA,
    CMAML,
    CNP,
    EWC,
    IMAML,
    MAML,
    MER,
    NP,
    OML,
    TNP,
    Adversarial,
    AmortizedHead,
    Contrastive,
    ContrastiveHead,
    ConvCNP,
    DistributionCalibration,
    Embedded,
    ExactGP,
    ExperienceReplay,
    FineTune,
    GaussianClasses,
    GradientLearner,
    GridConvCNP,
    Hallucinating,
    Hallucinator,
    InContext,
    Joint,
    LaMAML,
    LinearHead,
    LogisticRegression,
    MarginalGP,
    MetaGAN,
    MetaSGD,
    MultiTask,
    Naive,
    NearestNeighbor,
    OnlineHead,
    ProtoNet,
    Prototypes,
    Recalibrated,
    RelationNet,
    Relations,
    Reptile,
    Ridge,
    Rotation,
    Statistician,
    StatisticianHead,
    TaskHeads,
    Versa,
)
from innerloop.learners.generative.process import autoregressive, log_likelihood
from innerloop.optimizers import LearnedOptimizer, LSTMRule, MLPRule, TrainingRun
from innerloop.training.fit import fit
from innerloop.training.history import History
from innerloop.training.outer import NonFiniteLoss

if TYPE_CHECKING:
    from innerloop.estimators import FewShotClassifier, InContextClassifier, InContextRegressor

__version__ = VERSION

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
    "Bars",
    "Batches",
    "Categorical",
    "Contrastive",
    "ContrastiveHead",
    "ConvCNP",
    "DistributionCalibration",
    "Embedded",
    "ExactGP",
    "Examples",
    "ExperienceReplay",
    "FewShot",
    "FewShotClassifier",
    "FineTune",
    "Gaussian",
    "GaussianClasses",
    "GradientLearner",
    "GridConvCNP",
    "Hallucinating",
    "Hallucinator",
    "History",
    "InContext",
    "InContextClassifier",
    "InContextRegressor",
    "InputError",
    "Joint",
    "LSTMRule",
    "LaMAML",
    "LearnedOptimizer",
    "Learner",
    "Lifted",
    "Likelihood",
    "LinearHead",
    "LogisticRegression",
    "MLPRule",
    "MarginalGP",
    "MetaGAN",
    "MetaSGD",
    "Metric",
    "MultiTask",
    "Naive",
    "NearestNeighbor",
    "NonFiniteLoss",
    "OnlineHead",
    "Pool",
    "Pools",
    "ProtoNet",
    "Prototypes",
    "Recalibrated",
    "RelationNet",
    "Relations",
    "Report",
    "Reptile",
    "Ridge",
    "Rotation",
    "Sampler",
    "State",
    "Statistician",
    "StatisticianHead",
    "Task",
    "TaskHeads",
    "TrainingRun",
    "Versa",
    "acting",
    "autoregressive",
    "bundle",
    "compare",
    "continual",
    "core",
    "data",
    "evaluate",
    "examples",
    "fit",
    "freeze",
    "inner",
    "lift",
    "load",
    "log_likelihood",
    "nets",
    "norm",
    "one_hot",
    "optimizers",
    "paired",
    "save",
    "unfreeze",
]


def __getattr__(name: str) -> Any:
    # scikit-learn is slow to import and serves the estimators alone: it waits until one is asked for.
    if name in ("FewShotClassifier", "InContextClassifier", "InContextRegressor"):
        from innerloop import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'innerloop' has no attribute {name!r}")
