"""Meta-training: the outer loop, its checkpoints and what a person sees of it."""

from innerloop.training.callbacks import Callback, CheckpointEvery, EarlyStopping, LogEvery
from innerloop.training.history import History
from innerloop.training.lr_range import RateTest, find_lr
from innerloop.training.outer import Budget, NonFiniteLoss, OuterLoop, Update
from innerloop.training.settings import Settings
from innerloop.training.trackers import TensorBoard, Track

__all__ = [
    "Budget",
    "Callback",
    "CheckpointEvery",
    "EarlyStopping",
    "History",
    "LogEvery",
    "NonFiniteLoss",
    "OuterLoop",
    "RateTest",
    "Settings",
    "TensorBoard",
    "Track",
    "Update",
    "find_lr",
]
