"""Learned optimisers: rules that are networks, what trains them, and their use as a ``torch.optim.Optimizer``."""

from innerloop.optimisers.optimizer import LearnedOptimizer
from innerloop.optimisers.pes import ES, PES
from innerloop.optimisers.problems import Digits, Quadratics, Teachers
from innerloop.optimisers.rules import LSTMRule, MLPRule
from innerloop.optimisers.run import TrainingRun
from innerloop.optimisers.train import train

__all__ = [
    "ES",
    "PES",
    "Digits",
    "LSTMRule",
    "LearnedOptimizer",
    "MLPRule",
    "Quadratics",
    "Teachers",
    "TrainingRun",
    "train",
]
