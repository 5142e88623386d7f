"""Distribution calibration (Yang, Liu, Xu, ICLR 2021, https://arxiv.org/abs/2101.06395).

Classes that look alike spread alike: each support feature borrows mean and covariance from the nearest meta-training
classes, features are drawn from that Gaussian, and a logistic regression is fitted to support and drawn features
together. Nothing is meta-trained. Choose it on top of a good frozen encoder, for one or two examples a class.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.data.pool import Pool
from innerloop.learner import Learner
from innerloop.learners.generative._draws import Draws
from innerloop.learners.metric._embedded import Embedded
from innerloop.learners.transfer.finetune import Linear, LinearHead
from innerloop.likelihood import Likelihood
from innerloop.task import Examples, InputError, Task
