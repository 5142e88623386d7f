"""Families of training problems: what learned optimizers are trained and judged on.

The support set is the training data of a problem in the order of its minibatches, the query set its test data.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from innerloop.core.numbers import check_count, check_number
from innerloop.core.targets import one_hot
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.episodes import Sampler


def _check(**least: tuple[int, int]) -> None:
    for name, (value, smallest) in least.items():
        check_count(name, value, smallest)


class Quadratics(Sampler):
    """Random quadratics, as linear regression: half the mean of ``(a . w - b)^2`` over rows a.

    The columns' scales lie between ``1 / spread`` and 1, log-uniformly, and ``b = a . w*`` for a random ``w*``. Train
    ``nets.mlp(inputs, 1)`` on them with ``Gaussian(scale=1.0)``.

    Args:
        inputs: columns.
        rows: in the support set, and in the query set.
        spread: ratio of the largest to the smallest scale.

    Example:
        >>> Quadratics(inputs=5).draw(torch.Generator(), 2).support.x.shape
        torch.Size([2, 20, 5])
    """

    classifies = False

    def __init__(self, *, inputs: int = 10, rows: int = 20, spread: float = 10.0) -> None:
        _check(inputs=(inputs, 1), rows=(rows, 1))
        check_number("spread, the largest scale by the smallest,", spread, "[1, inf)")
        self.inputs, self.rows, self.spread = inputs, rows, spread

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        sizes = (2 * self.rows * self.inputs, self.inputs, self.inputs)
        a, scale, w = _normal(generator, tasks, sum(sizes)).split(sizes, 1)
        scale = self.spread ** (torch.special.ndtr(scale) - 1)
        a = a.view(tasks, 2 * self.rows, self.inputs) * scale.unsqueeze(1)
        return _task(a, (a * w.unsqueeze(1)).sum(2, keepdim=True), self.rows)


class Teachers(Sampler):
    """Classification by a random network with one hidden layer: the class is its largest output.

    Args:
        inputs: of an example, standard normal.
        classes: to tell apart.
        hidden: units of the teacher.
        examples: training examples of a problem, and as many test examples.

    Example:
        >>> Teachers(inputs=8, classes=3, examples=50).draw(torch.Generator(), 2).query.y.shape
        torch.Size([2, 50, 3])
    """

    def __init__(self, *, inputs: int = 16, classes: int = 5, hidden: int = 8, examples: int = 640) -> None:
        _check(inputs=(inputs, 1), classes=(classes, 2), hidden=(hidden, 1), examples=(examples, 1))
        self.inputs, self.classes, self.hidden, self.examples = inputs, classes, hidden, examples

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        sizes = (2 * self.examples * self.inputs, self.inputs * self.hidden, self.hidden * self.classes)
        x, first, second = _normal(generator, tasks, sum(sizes)).split(sizes, 1)
        x = x.view(tasks, 2 * self.examples, self.inputs)
        z = torch.relu(x @ first.view(tasks, self.inputs, self.hidden))
        # Centered, since else the class with the largest weights would take most examples.
        labels = ((z - z.mean(1, keepdim=True)) @ second.view(tasks, self.hidden, self.classes)).argmax(2)
        return _task(x, one_hot(labels, self.classes), self.examples)


class Digits(Sampler):
    """Handwritten digits, those that come with scikit-learn: a problem is a random part of one half of them, shuffled.

    Args:
        split: ``"train"`` or ``"test"``, halves that share no image.
        side: of an image, 8 pixels or averaged down to 4 or 2.
        examples: training examples of a problem; the rest of the half, 898 images, is its test data.

    Raises:
        InputError: for another split or side, or examples that leave no test data.

    Example:
        >>> Digits("train", examples=600).draw(torch.Generator(), 2).query.x.shape
        torch.Size([2, 298, 64])
    """

    def __init__(self, split: Literal["train", "test"], *, side: int = 8, examples: int = 640) -> None:
        if split not in ("train", "test"):
            raise InputError(f"the split {split!r} is unknown; choose train or test")
        if side not in (8, 4, 2):
            raise InputError(f"the side is {side!r} pixels; choose 8, 4 or 2")
        # Slow to import, and of use here only.
        from sklearn.datasets import load_digits

        digits = load_digits()
        x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        half = order[: len(x) // 2] if split == "train" else order[len(x) // 2 :][: len(x) // 2]
        check_count("examples", examples, 1)
        if examples >= len(half):
            raise InputError(f"{examples} examples of {len(half)} images: leave 1 at least for the test")
        x = F.avg_pool2d(x, 8 // side).flatten(1)[half]
        self.x, self.y = (x - x.mean()) / x.std(), one_hot(torch.tensor(digits.target)[half], 10)
        self.examples = examples

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        order = torch.rand(tasks, len(self.x), generator=generator, device=generator.device).argsort(1).cpu()
        return _task(self.x[order], self.y[order], self.examples)


def _normal(generator: Generator, tasks: int, size: int) -> Tensor:
    """Standard normal numbers, ``[tasks, size]``; through uniform ones, whose rows do not depend on ``tasks``."""
    uniform = torch.rand(tasks, size, generator=generator, device=generator.device).cpu()
    return torch.special.ndtri(uniform.clamp(1e-7, 1 - 1e-7))


def _task(x: Tensor, y: Tensor, examples: int) -> Task:
    support = Examples(x[:, :examples], y[:, :examples])
    return Task(support, Examples(x[:, examples:], y[:, examples:]))
