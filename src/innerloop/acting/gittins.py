"""Gittins indices of a Bernoulli arm, and exact values of small bandits.

J. C. Gittins, *Bandit Processes and Dynamic Allocation Indices*, J. R. Stat. Soc. B, 1979,
https://doi.org/10.1111/j.2517-6161.1979.tb01068.x.

The index of an arm is the sure payment a pull, lambda, for which one would as soon give the arm up for good as play on
and give it up later at will. Pulling the arm with the largest index is optimal when rewards are discounted over an
endless future. With n pulls and no discount it is not, but the index for the pulls that are left comes within a
fraction of a percent. Indices are calibrated: the value of playing on is computed backwards for a whole grid of
lambdas at once, and the index is where it crosses that of giving up.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Generator, Tensor

from innerloop.acting.bandits import IndexPlayer, posterior_mean
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import InputError


def discounted_indices(discount: float, pulls: int, *, points: int = 501) -> Tensor:
    """Gittins indices for an endless discounted future.

    Args:
        discount: gamma, below 1.
        pulls: the largest number of pulls of an arm that is tabled.
        points: size of the grid of lambdas in [0, 1]. The crossing is interpolated, so 501 give five decimals.

    Returns:
        the index by ``[wins, losses]``, float64 ``[pulls + 1, pulls + 1]``; only ``wins + losses <= pulls`` is meant.

    Raises:
        InputError: for a discount outside [0, 1), or fewer than 0 pulls.

    Example:
        >>> round(float(discounted_indices(0.9, 1)[0, 0]), 4)
        0.7029
    """
    check_number("the discount", discount, "[0, 1)")
    check_count("pulls", pulls, 0)
    check_count("points", points, 2)
    grid = torch.linspace(0, 1, points, dtype=torch.float64)
    # Where the future counts a thousandth and p is nearly certain, it is taken for known.
    depth = pulls + 1 + (int(math.log(1e-3) / math.log(discount)) if discount else 0)
    table = torch.zeros(pulls + 1, pulls + 1, dtype=torch.float64)
    wins = torch.arange(depth + 1)
    value = torch.maximum(posterior_mean(wins, depth - wins).double().unsqueeze(1), grid) / (1 - discount)
    for level in range(depth - 1, -1, -1):
        wins = torch.arange(level + 1)
        p = posterior_mean(wins, level - wins).double().unsqueeze(1)
        on = p * (1 + discount * value[1:]) + (1 - p) * discount * value[:-1]
        stop = grid / (1 - discount)
        if level <= pulls:
            table[wins, level - wins] = _crossing(on - stop, grid)
        value = torch.maximum(on, stop)
    return table


@cache
def finite_indices(pulls: int, *, points: int = 251) -> Tensor:
    """Gittins indices with a number of pulls left and no discount.

    Args:
        pulls: the horizon n.
        points: size of the grid of lambdas in [0, 1].

    Returns:
        the index by ``[left, wins, losses]``, float64 ``[n + 1, n + 1, n + 1]``; only ``left + wins + losses <= n``,
        ``left >= 1`` is meant.

    Raises:
        InputError: for fewer than 1 pull.

    Example:
        >>> finite_indices(2)[1:, 0, 0]  # the last pull is worth its mean; before it, 1/2 (1 + 2/3) + 1/2 x = 2x
        tensor([0.5000, 0.5556], dtype=torch.float64)
    """
    check_count("pulls", pulls, 1)
    check_count("points", points, 2)
    grid = torch.linspace(0, 1, points, dtype=torch.float64)
    table = torch.zeros(pulls + 1, pulls + 1, pulls + 1, dtype=torch.float64)
    counts = torch.arange(pulls + 1, dtype=torch.float64)
    value = torch.zeros(pulls + 1, pulls + 1, points, dtype=torch.float64)
    for left in range(1, pulls + 1):
        size = pulls - left + 1
        p = posterior_mean(counts[:size, None], counts[:size]).unsqueeze(2)
        on = p * (1 + value[1 : size + 1, :size]) + (1 - p) * value[:size, 1 : size + 1]
        table[left, :size, :size] = _crossing(on - left * grid, grid)
        value = torch.maximum(on, left * grid)
    return table


def _crossing(gain: Tensor, grid: Tensor) -> Tensor:
    """Where the gain of playing on, which falls along the grid, reaches zero."""
    after = (gain > 0).sum(-1, keepdim=True).clamp(1, len(grid) - 1)
    high, low = gain.gather(-1, after - 1), gain.gather(-1, after)
    share = (high / (high - low)).clamp(0, 1)
    return (grid[after - 1] + share * (grid[after] - grid[after - 1])).squeeze(-1)


class Gittins(IndexPlayer):
    """Pulls the arm with the largest Gittins index.

    Args:
        pulls: the horizon n.
        discount: ``None`` for the index of the pulls that are left (the better player of n pulls); a discount for the
            classical one.

    Example:
        >>> import innerloop.acting as acting
        >>> tasks = acting.Bandits.draw(torch.Generator().manual_seed(0), 500, arms=5, pulls=20)
        >>> 13 < float(Gittins(20)(tasks, torch.Generator()).sum(0).mean()) < 15
        True
    """

    def __init__(self, pulls: int, discount: float | None = None) -> None:
        self.table = finite_indices(pulls) if discount is None else discounted_indices(discount, pulls).unsqueeze(0)
        self.finite = discount is None

    def index(self, wins: Tensor, losses: Tensor, left: int, generator: Generator) -> Tensor:  # noqa: D102
        self.table = self.table.to(wins.device)
        return self.table[left if self.finite else 0, wins.long(), losses.long()]


def bayes_value(arms: int, pulls: int, player: IndexPlayer | None = None) -> float:
    """The exact expected sum of rewards, over all p ~ U(0, 1) and all luck; for small bandits.

    Args:
        arms: k.
        pulls: n; the number of states grows as n to the power 2k.
        player: one that does not draw (ties apart); ``None`` for the optimal one, which no player passes.

    Returns:
        the value.

    Raises:
        InputError: for more than about a million states.

    Example:
        >>> bayes_value(2, 1), round(bayes_value(2, 2), 4)  # win: stay; lose: switch
        (0.5, 1.0833)
    """
    check_count("arms", arms, 1)
    check_count("pulls", pulls, 1)
    if pulls ** (2 * arms) > 2e7:
        raise InputError(
            f"an exact value of {arms} arms and {pulls} pulls has too many states: take 2 arms and 60 pulls at most"
        )

    @cache
    def value(state: tuple[tuple[int, int], ...], left: int) -> float:
        if not left:
            return 0.0

        def of(arm: int) -> float:
            wins, losses = state[arm]
            p = (wins + 1) / (wins + losses + 2)
            # The arms are alike, so their order does not matter: sorted states are fewer.
            won = tuple(sorted((*state[:arm], (wins + 1, losses), *state[arm + 1 :])))
            lost = tuple(sorted((*state[:arm], (wins, losses + 1), *state[arm + 1 :])))
            return p * (1 + value(won, left - 1)) + (1 - p) * value(lost, left - 1)

        pulled = range(arms) if player is None else best(state, left)
        values = [of(arm) for arm in pulled]
        return max(values) if player is None else sum(values) / len(values)

    def best(state: tuple[tuple[int, int], ...], left: int) -> list[int]:
        counts = torch.tensor(state, dtype=torch.float64)
        assert player is not None
        index = player.index(counts[None, :, 0], counts[None, :, 1], left, Generator())[0]
        return [arm for arm in range(arms) if index[arm] == index.max()]

    return value(((0, 0),) * arms, pulls)
