"""innerloop: meta-learning for PyTorch.

Train on many small tasks, then learn a new one from a handful of examples. A learner is a fold over data, written for
one task: ``adapt(support) -> state``, ``predict(state, x) -> raw``. The engine lifts it over batches of tasks.

Here are the verbs, what they take and give, and the learners that one tries first. All learners and heads are in
:mod:`innerloop.learners`, data sets and samplers in :mod:`innerloop.data`, networks in :mod:`innerloop.nets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from innerloop import acting, bundle, continual, core, data, learners, nets, optimizers, training
from innerloop.bundle import load, save
from innerloop.core import inner, norm
from innerloop.core.freeze import freeze, unfreeze
from innerloop.core.inner import inner_loop
from innerloop.core.learner import Learner
from innerloop.core.lifting import lift
from innerloop.core.likelihood import Categorical, Gaussian
from innerloop.core.metric import Metric
from innerloop.core.targets import examples, one_hot
from innerloop.core.task import Examples, InputError, Task
from innerloop.core.version import VERSION
from innerloop.data.episodes import Batches, FewShot
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.evaluation.compare import compare
from innerloop.evaluation.evaluate import evaluate
from innerloop.evaluation.reports import Report
from innerloop.evaluation.seeds import over_seeds
from innerloop.evaluation.stats import paired
from innerloop.learners import (
    ANIL,
    CNP,
    MAML,
    TNP,
    ConvCNP,
    FineTune,
    MAMLPlusPlus,
    MetaSGD,
    MultiTask,
    ProtoNet,
    RelationNet,
    Reptile,
    Versa,
)
from innerloop.learners.generative import process as processes
from innerloop.training.fit import fit

if TYPE_CHECKING:
    from innerloop.estimators import FewShotClassifier, FewShotRegressor, InContextClassifier, InContextRegressor
    from innerloop.evidence import explain
    from innerloop.serve.client import Client

__version__ = VERSION

__all__ = [
    "ANIL",
    "CNP",
    "MAML",
    "TNP",
    "Batches",
    "Categorical",
    "Client",
    "ConvCNP",
    "Examples",
    "FewShot",
    "FewShotClassifier",
    "FewShotRegressor",
    "FineTune",
    "Gaussian",
    "InContextClassifier",
    "InContextRegressor",
    "InputError",
    "Learner",
    "MAMLPlusPlus",
    "MetaSGD",
    "Metric",
    "MultiTask",
    "Pool",
    "Pools",
    "ProtoNet",
    "RelationNet",
    "Report",
    "Reptile",
    "Task",
    "Versa",
    "acting",
    "bundle",
    "compare",
    "continual",
    "core",
    "data",
    "evaluate",
    "examples",
    "explain",
    "fit",
    "freeze",
    "inner",
    "inner_loop",
    "learners",
    "lift",
    "load",
    "nets",
    "norm",
    "one_hot",
    "optimizers",
    "over_seeds",
    "paired",
    "processes",
    "save",
    "training",
    "unfreeze",
]


def __getattr__(name: str) -> Any:
    # scikit-learn is slow to import and serves the estimators alone: it waits until one is asked for.
    if name in ("FewShotClassifier", "FewShotRegressor", "InContextClassifier", "InContextRegressor"):
        from innerloop import estimators

        return getattr(estimators, name)
    if name == "explain":
        from innerloop.evidence import explain

        return explain
    if name == "Client":
        from innerloop.serve.client import Client

        return Client
    raise AttributeError(f"module 'innerloop' has no attribute {name!r}")
