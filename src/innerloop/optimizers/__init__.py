"""Learned optimizers: rules that are networks, what trains them, and their use as a ``torch.optim.Optimizer``."""

from innerloop.optimizers.guarded import Guarded
from innerloop.optimizers.optimizer import LearnedOptimizer
from innerloop.optimizers.pes import ES, PES
from innerloop.optimizers.problems import Digits, Quadratics, Teachers
from innerloop.optimizers.rules import LSTMRule, MLPRule
from innerloop.optimizers.run import TrainingRun
from innerloop.optimizers.train import train

__all__ = [
    "ES",
    "PES",
    "Digits",
    "Guarded",
    "LSTMRule",
    "LearnedOptimizer",
    "MLPRule",
    "Quadratics",
    "Teachers",
    "TrainingRun",
    "train",
]
