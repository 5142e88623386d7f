"""A query as a function of which of its parts are there, and what each part does to the answer, by captum's methods.

Pixels, patches, words and columns are all parts: what is not there is replaced by something that says little, the
baseline. So every method gives contributions in one unit, and all of them can be held against the same test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from torch import Tensor

from innerloop.core.numbers import check_count
from innerloop.core.random import seeded
from innerloop.core.task import InputError, did_you_mean
from innerloop.evidence.shapley import shapley

#: How contributions are found.
METHODS = ("integrated gradients", "saliency", "occlusion", "shapley")
#: Those that need a derivative.
SMOOTH = METHODS[:2]
#: Numbers of inputs, and inputs, that are evaluated at a time.
_NUMBERS, _ROWS = 2**21, 64


class Parts(ABC):
    """What is explained, as a function of which of n parts of a query are there: ``[B, n] -> [B]``, 1 for there."""

    def __init__(self, count: int, like: Tensor, grid: tuple[int, int] | None = None, rows: int = _ROWS) -> None:
        self.count, self.like, self.grid, self.rows = count, like, grid, rows

    #: Whether parts can be there by halves, so that there is a derivative.
    smooth: bool = False

    @abstractmethod
    def __call__(self, presence: Tensor) -> Tensor:
        """Its value, ``[B]``."""

    @property
    def whole(self) -> Tensor:
        """All parts there, ``[1, n]``."""
        return self.like.new_ones(1, self.count)

    def at(self, presence: Tensor) -> float:
        """Its value at one presence ``[1, n]``."""
        with torch.no_grad():
            return float(self(presence))


class TensorParts(Parts):
    """Of a tensor, whose numbers are replaced by those of a baseline, or of several, over which the value is averaged.

    Args:
        score: what is explained, of inputs ``[B, *F]``: ``[B]``.
        x: the query, ``[*F]``.
        baseline: ``[R, *F]``.
        groups: which part each number belongs to, int64 ``[*F]``, from 0 without a gap.
        grid: rows and columns of the parts, where they lie in a plane.

    Example:
        >>> parts = TensorParts(
        ...     lambda x: x.sum(1), torch.tensor([1.0, 2.0, 4.0]), torch.zeros(1, 3), torch.tensor([0, 1, 1])
        ... )
        >>> parts(torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.5]]))
        tensor([7., 1., 3.])
    """

    smooth = True

    def __init__(
        self,
        score: Callable[[Tensor], Tensor],
        x: Tensor,
        baseline: Tensor,
        groups: Tensor,
        grid: tuple[int, int] | None = None,
    ) -> None:
        rows = max(1, min(_ROWS, _NUMBERS // max(1, baseline.numel())))
        super().__init__(int(groups.max()) + 1, x, grid, rows)
        self.score, self.x, self.baseline, self.groups = score, x, baseline, groups

    def __call__(self, presence: Tensor) -> Tensor:  # noqa: D102
        if presence.requires_grad:
            return self._values(presence)
        return torch.cat([self._values(part) for part in presence.split(self.rows)])

    def _values(self, presence: Tensor) -> Tensor:
        weight = presence[:, None, self.groups]
        x, baseline = self.x.expand_as(weight[:1]), self.baseline
        mixed = torch.lerp(baseline.unsqueeze(0), x, weight.to(x.dtype))
        if not presence.requires_grad:
            # As they are, and not as rounded on the way; a number that is missing is no way.
            mixed = torch.where(weight == 1, x, torch.where(weight == 0, baseline.unsqueeze(0), mixed))
        return self.score(mixed.flatten(0, 1)).view(len(presence), -1).mean(1)


class ListedParts(Parts):
    """Of anything that is a list: what is not there is taken out of it.

    Args:
        score: what is explained, of lists of the parts that are there, one for each of B: ``[B]``.
        count: n.

    Example:
        >>> parts = ListedParts(lambda kept: torch.tensor([float(len(one)) for one in kept]), 3)
        >>> parts(torch.tensor([[1.0, 0.0, 1.0]]))
        tensor([2.])
    """

    def __init__(self, score: Callable[[Sequence[Sequence[int]]], Tensor], count: int) -> None:
        super().__init__(count, torch.zeros(0, dtype=torch.float64))
        self.score = score

    def __call__(self, presence: Tensor) -> Tensor:  # noqa: D102
        return self.score([row.nonzero().flatten().tolist() for row in presence > 0.5]).to(presence)


def patch_of(picture: Tensor, method: str, patch: int | None) -> int:
    """The side of a part of a picture ``[C, H, W]``: 1 with a derivative, a seventh of the longer side without."""
    return patch or (1 if method in SMOOTH else -(-max(picture.shape[1:]) // 7))


def parts_of(
    x: Tensor, method: str, patch: int | None = None, groups: Tensor | None = None
) -> tuple[Tensor, tuple[int, int] | None]:
    """The part that each number of a query belongs to, and rows and columns of parts that lie in a plane.

    Args:
        x: a query, ``[*F]``.
        method: that is to be used.
        patch: of images ``[C, H, W]``, the side of a part in pixels.
        groups: the answer itself, which is checked.

    Raises:
        InputError: for groups that do not fit, and for patches that are none.

    Example:
        >>> parts_of(torch.zeros(1, 4, 4), "occlusion", patch=2)[0][0].tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    """
    if groups is not None:
        if tuple(groups.shape) != tuple(x.shape) or sorted(set(groups.flatten().tolist())) != [
            *range(int(groups.max()) + 1)
        ]:
            raise InputError(
                f"groups {tuple(groups.shape)} must give each number of a query {tuple(x.shape)} a part, from 0 "
                f"without a gap"
            )
        return groups.to(x.device), None
    if x.ndim != 3:
        if patch is not None:
            raise InputError(f"patch={patch} is for images [C, H, W], these queries are {tuple(x.shape)}: leave it out")
        return torch.arange(x.numel(), device=x.device).view(x.shape), None
    _, height, width = x.shape
    check_count("patch, the side of a part in pixels,", patch, 1, optional=True)
    side = patch_of(x, method, patch)
    rows, columns = (torch.arange(size, device=x.device) // side for size in (height, width))
    grid = (int(rows[-1]) + 1, int(columns[-1]) + 1)
    return (rows[:, None] * grid[1] + columns).expand(x.shape), grid


def contributions(
    parts: Parts, method: str, *, steps: int = 50, orders: int = 50, seed: int = 0
) -> tuple[Tensor, Tensor | None]:
    """What each part does to the value: ``[n]``, and standard errors where it was sampled.

    Args:
        parts: what is explained.
        method: ``"integrated gradients"`` (the derivative along the straight way from nothing to all, summed up:
            contributions add up to the difference of both), ``"saliency"`` (the derivative where all is there),
            ``"occlusion"`` (what is lost without the part), ``"shapley"`` (what it adds, over all orders of coming).
        steps: of integrated gradients (Gauss-Legendre).
        orders: random ones for Shapley values of more than 12 parts.
        seed: of the orders.

    Raises:
        InputError: for an unknown method, and one that needs a derivative where there is none.

    Example:
        >>> parts = TensorParts(lambda x: x.prod(1), torch.tensor([2.0, 3.0]), torch.zeros(1, 2), torch.arange(2))
        >>> [contributions(parts, method)[0].tolist() for method in ("occlusion", "saliency", "shapley")]
        [[6.0, 6.0], [6.0, 6.0], [3.0, 3.0]]
    """
    check_method(method)
    if method == "shapley":

        def value(there: Tensor) -> Tensor:
            with torch.no_grad():
                return parts(there.to(parts.like))[:, None].cpu()

        shared = shapley(value, parts.count, orders=orders, seed=seed)
        return shared.values[0], None if shared.exact else shared.error[0]
    attr, whole = _captum("attr"), parts.whole
    if method == "occlusion":
        with torch.no_grad():
            return attr.FeatureAblation(parts).attribute(whole, perturbations_per_eval=parts.rows)[0].double(), None
    refusal = InputError(
        f"{method} takes a derivative by the parts, and there is none: take method='occlusion' or 'shapley'"
    )
    if not parts.smooth:
        raise refusal
    try:
        if method == "saliency":
            return attr.Saliency(parts).attribute(whole.requires_grad_(), abs=False)[0].double(), None
        found = attr.IntegratedGradients(parts).attribute(
            whole, baselines=0 * whole, n_steps=steps, method="gausslegendre", internal_batch_size=parts.rows
        )
        return found[0].detach().double(), None
    except RuntimeError as error:
        if "does not require grad" not in str(error) and "not have been used in the graph" not in str(error):
            raise
        raise refusal from error


def check_method(method: str) -> None:
    """Refuse a method that there is not.

    Raises:
        InputError: naming those that there are.
    """
    if method not in METHODS:
        near = did_you_mean(method, METHODS)
        raise InputError(f"method={method!r} is unknown{near}: choose of {', '.join(METHODS)}")


def infidelity(parts: Parts, values: Tensor, *, samples: int = 50, seed: int = 0) -> tuple[float, float]:
    """How far contributions are from what happens where several parts are taken away at once.

    Taken away are random sets of parts of all sizes; of parts in a plane, those in random rectangles.

    Args:
        parts: what is explained.
        values: its contributions, ``[n]``.
        samples: how many sets.
        seed: of the sets.

    Returns:
        the mean squared difference between the sum of the contributions and what was lost (infidelity), and its share
        of the mean squared loss: 0 is perfect, 1 is no better than saying that nothing matters.

    Example:
        >>> parts = TensorParts(lambda x: x.sum(1), torch.tensor([2.0, 3.0]), torch.zeros(1, 2), torch.arange(2))
        >>> infidelity(parts, torch.tensor([2.0, 3.0])), infidelity(parts, torch.zeros(2))[1]
        ((0.0, 0.0), 1.0)

    References:
        Yeh et al., *On the (In)fidelity and Sensitivity of Explanations*, NeurIPS 2019,
        https://arxiv.org/abs/1901.09392.
    """

    def measured(values: Tensor) -> float:
        generator = seeded(seed)

        def taken(presence: Tensor) -> tuple[Tensor, Tensor]:
            away = torch.stack([_some(parts, generator) for _ in presence]).to(presence)
            return away, presence - away

        metrics, known = _captum("metrics"), values.to(parts.like).unsqueeze(0)
        with torch.no_grad():
            return float(metrics.infidelity(parts, taken, parts.whole, known, n_perturb_samples=samples))

    found, most = measured(values), measured(torch.zeros_like(values))
    return found, found / most if most > 0 else float("nan")


def sensitivity(
    explained: Callable[[Tensor], Tensor], x: Tensor, *, radius: float, samples: int = 10, seed: int = 0
) -> float:
    """How much contributions change, at most, where the query changes by little; as a share of their length.

    Args:
        explained: the contributions ``[n]`` of a query ``[*F]``.
        x: the query, ``[*F]``.
        radius: the largest change of each of its numbers.
        samples: random changes that are tried.
        seed: of the changes.

    Example:
        >>> bool(0 < sensitivity(lambda x: 2 * x, torch.ones(3), radius=0.1) <= 0.1)
        True

    References:
        Yeh et al., *On the (In)fidelity and Sensitivity of Explanations*, NeurIPS 2019,
        https://arxiv.org/abs/1901.09392.
    """

    def each(batch: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        # The query itself comes in a tuple, and what it became as a tensor.
        rows = batch[0] if isinstance(batch, tuple) else batch
        found = torch.stack([explained(row.detach()) for row in rows])
        return (found,) if isinstance(batch, tuple) else found

    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        torch.manual_seed(seed)
        found = _captum("metrics").sensitivity_max(
            each, x.unsqueeze(0), perturb_radius=radius, n_perturb_samples=samples
        )
    return float(found)


def _some(parts: Parts, generator: torch.Generator) -> Tensor:
    """Some of the parts, as 0 and 1, ``[n]``."""

    def draw(most: int) -> int:
        return int(torch.randint(most, (), generator=generator))

    if parts.grid is None:
        away = torch.zeros(parts.count)
        away[torch.randperm(parts.count, generator=generator)[: 1 + draw(parts.count)]] = 1
        return away
    sizes = [1 + draw(side) for side in parts.grid]
    (top, left), (height, width) = (draw(side - size + 1) for side, size in zip(parts.grid, sizes, strict=True)), sizes
    plane = torch.zeros(parts.grid)
    plane[top : top + height, left : left + width] = 1
    return plane.flatten()


def _captum(room: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(f"captum.{room}")
    except ImportError:
        raise InputError(
            "attribution to the input needs captum, which is not installed: pip install 'innerloop[explain]'"
        ) from None
