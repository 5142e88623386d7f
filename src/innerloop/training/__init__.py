"""Meta-training: the outer loop, its checkpoints and what a person sees of it."""

from innerloop.training.callbacks import Callback, CheckpointEvery, EarlyStopping, LogEvery
from innerloop.training.lr_range import RateTest, find_lr
from innerloop.training.outer import Budget, OuterLoop, Update
from innerloop.training.settings import Settings

__all__ = [
    "Budget",
    "Callback",
    "CheckpointEvery",
    "EarlyStopping",
    "LogEvery",
    "OuterLoop",
    "RateTest",
    "Settings",
    "Update",
    "find_lr",
]
