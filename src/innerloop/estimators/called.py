"""What classes are called, as further examples of them: the words of a label say what its sentences are about.

``"card_lost"`` is read as the sentence "card lost" and stands beside the examples of its class. Whether labels are such
words is asked of the examples: the names are believed where the examples lie nearer to the names of their own classes
than if names had been dealt out at random.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.task import Examples
from innerloop.encoders.base import Encoder
from innerloop.learners.head import Head
from innerloop.learners.heads.primed import Primed

#: How often names that say nothing may be believed, by chance, and deals of names that are compared.
_ERROR, _DEALS = 0.05, 1000
#: Classes of which all orders are compared.
_ALL = 6
_NUMBERS = 2**23
#: The share of labels that may be too short to be words.
_SHORT = 0.1


class Called(NamedTuple):
    """The names of D classes, as features."""

    x: Tensor
    """``[D, H]``, float64."""
    deals: Tensor
    """Ways to deal out the names, int64 ``[P, D]``; the first leaves each with its class."""

    def primed(self, head: Head) -> Head:
        """A head that has the names beside the examples."""
        return Primed(head, self.x, torch.eye(len(self.x), dtype=self.x.dtype)).eval().requires_grad_(False)

    def believed(self, support: Examples) -> Tensor:
        """Whether examples speak for the names, bool ``[]``."""
        return self._rare(self._scores(support))

    def believed_with(self, support: Examples, x: Tensor) -> Tensor:
        """Whether examples with each of some queries ``[Q, H]`` under each class would, bool ``[Q, D]``."""
        known, near = self._scores(support), self._near(x)
        size = max(1, _NUMBERS // self.deals.numel())
        # Of a query under class c a deal adds its nearness to the name that the deal gives to c.
        parts = [known.unsqueeze(1) + part[:, self.deals] for part in near.split(size)]
        return torch.cat([self._rare(part.transpose(0, 1)) for part in parts])

    def _near(self, x: Tensor) -> Tensor:
        return F.normalize(x.flatten(1), dim=1) @ F.normalize(self.x, dim=1).mT

    def _scores(self, support: Examples) -> Tensor:
        """How near the examples are to the names, for each deal, ``[P]``."""
        near = support.y.mT @ self._near(support.x)
        return near[torch.arange(len(self.x)), self.deals].sum(1)

    def _rare(self, scores: Tensor) -> Tensor:
        """Whether so high a score of the first deal is rare, ``[P, ...] -> [...]``."""
        first = scores[0]
        as_good = (scores >= first - 1e-9 * first.abs()).sum(0)
        return as_good <= max(1, math.floor(_ERROR * len(scores)))


def called(encoder: Encoder | None, classes: npt.NDArray[Any]) -> Called | None:
    """The names of classes as features, where the encoder is of sentences and labels are words.

    Args:
        encoder: of the examples.
        classes: the labels, sorted, ``[D]``.
    """
    if encoder is None or encoder.kind != "text" or classes.dtype.kind != "U":
        return None
    words = [words_of(str(label)) for label in classes]
    # One name may be short ("w2", a form) where the others are words.
    short = sum(sum(letter.isalpha() for letter in word) < 3 for word in words)
    if short > _SHORT * len(words) or not all(words):
        return None
    x = torch.from_numpy(encoder.transform(words).astype(np.float64))
    return Called(x, deals(len(words)))


def words_of(label: str) -> str:
    """A label as a person would say it.

    Example:
        >>> words_of("card_lostOrStolen"), words_of("PIN blocked")
        ('card lost or stolen', 'pin blocked')
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return " ".join(re.sub(r"[\W_]+", " ", apart).lower().split())


def deals(count: int) -> Tensor:
    """Ways to deal out so many names, int64 ``[P, D]``, the first as they are: all of few, a thousand of more."""
    if count <= _ALL:
        return torch.tensor(list(itertools.permutations(range(count))))
    random = np.random.default_rng(0)
    return torch.from_numpy(np.stack([np.arange(count), *(random.permutation(count) for _ in range(_DEALS - 1))]))
