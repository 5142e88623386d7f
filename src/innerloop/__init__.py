"""innerloop: meta-learning for PyTorch.

Train on many small tasks, then learn a new one from a handful of examples. A learner is a fold over data, written for
one task: ``adapt(support) -> state``, ``predict(state, x) -> raw``. The engine lifts it over batches of tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from innerloop import data, inner, nets, norm
from innerloop.data.episodes import Batches, FewShot, Sampler
from innerloop.data.pool import Pool, Pools
from innerloop.evaluation.evaluate import Report, evaluate
from innerloop.evaluation.stats import paired
from innerloop.learner import Learner, State
from innerloop.learners import (
    ANP,
    CANP,
    CNP,
    MAML,
    NP,
    TNP,
    Adversarial,
    AmortisedHead,
    ConvCNP,
    DistributionCalibration,
    Embedded,
    ExactGP,
    FineTune,
    GradientLearner,
    GridConvCNP,
    Hallucinating,
    Hallucinator,
    InContext,
    LinearHead,
    MarginalGP,
    MetaGAN,
    ProtoNet,
    Prototypes,
    Recalibrated,
    RelationNet,
    Relations,
    Reptile,
    Statistician,
    StatisticianHead,
    Versa,
)
from innerloop.learners.generative._process import autoregressive, log_likelihood
from innerloop.lift import Lifted, lift
from innerloop.likelihood import Bars, Categorical, Gaussian, Likelihood
from innerloop.task import Examples, InputError, Task, one_hot
from innerloop.training.fit import NonFiniteLoss, fit
from innerloop.training.store import History

if TYPE_CHECKING:
    from innerloop.estimators import InContextClassifier, InContextRegressor

__version__ = "0.1.0"

__all__ = [
    "ANP",
    "CANP",
    "CNP",
    "MAML",
    "NP",
    "TNP",
    "Adversarial",
    "AmortisedHead",
    "Bars",
    "Batches",
    "Categorical",
    "ConvCNP",
    "DistributionCalibration",
    "Embedded",
    "ExactGP",
    "Examples",
    "FewShot",
    "FineTune",
    "Gaussian",
    "GradientLearner",
    "GridConvCNP",
    "Hallucinating",
    "Hallucinator",
    "History",
    "InContext",
    "InContextClassifier",
    "InContextRegressor",
    "InputError",
    "Learner",
    "Lifted",
    "Likelihood",
    "LinearHead",
    "MarginalGP",
    "MetaGAN",
    "NonFiniteLoss",
    "Pool",
    "Pools",
    "ProtoNet",
    "Prototypes",
    "Recalibrated",
    "RelationNet",
    "Relations",
    "Report",
    "Reptile",
    "Sampler",
    "State",
    "Statistician",
    "StatisticianHead",
    "Task",
    "Versa",
    "autoregressive",
    "data",
    "evaluate",
    "fit",
    "inner",
    "lift",
    "log_likelihood",
    "nets",
    "norm",
    "one_hot",
    "paired",
]


def __getattr__(name: str) -> Any:
    # scikit-learn is slow to import and serves the estimators alone: it waits until one is asked for.
    if name in ("InContextClassifier", "InContextRegressor"):
        from innerloop import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'innerloop' has no attribute {name!r}")
