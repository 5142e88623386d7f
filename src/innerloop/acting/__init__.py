"""Learning to act: bandits and navigation in the plane, agents that learn a task while they act, exact baselines."""

from __future__ import annotations

from innerloop.acting.bandits import UCB1, Bandits, Greedy, IndexPlayer, Random, Thompson
from innerloop.acting.gittins import Gittins, bayes_value, discounted_indices, finite_indices
from innerloop.acting.maml import GaussianPolicy, PolicyMAML, train_navigation
from innerloop.acting.navigation import Trajectories, best_return, draw_goals, navigate
from innerloop.acting.rl2 import RL2, train_rl2
from innerloop.acting.train import train

__all__ = [
    "RL2",
    "UCB1",
    "Bandits",
    "GaussianPolicy",
    "Gittins",
    "Greedy",
    "IndexPlayer",
    "PolicyMAML",
    "Random",
    "Thompson",
    "Trajectories",
    "bayes_value",
    "best_return",
    "discounted_indices",
    "draw_goals",
    "finite_indices",
    "navigate",
    "train",
    "train_navigation",
    "train_rl2",
]
