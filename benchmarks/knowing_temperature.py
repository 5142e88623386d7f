"""Fit the constants of estimators/temperature.py, on tasks of the first half of the classes.

Called by ``knowing.py temperature``. Of each head: what the logarithm of the best temperature, in units of the spread
of its logits on the examples themselves, follows from (a constant, the logarithm of the classes, 1 / shots, whether
features are few), by the least log loss of fresh queries. Then, for all heads together, what that counts beside the
examples left out, and how much surer a head is of the whole than leave-one-out says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from knowing_tasks import SETS, blobs, classes_of, digits, makers, task
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.preprocessing import scale
from torch import Tensor

import innerloop as il
from innerloop.estimators.choice import ready
from innerloop.estimators.temperature import LONG, left_out_loss, spread
from innerloop.evidence import leave_one_out

#: Logarithms of temperatures in units of the spread.
GRID = torch.linspace(-6, 3, 91, dtype=torch.float64)
#: What sources count. Normal classes can mostly hardly be told apart, unlike what people bring.
SOURCES = {**dict.fromkeys(SETS, 1.0), "digits": 1.0, "tables": 1.0, "normal": 0.1}


class Seen(NamedTuple):
    """A task by a head."""

    source: str
    head: str
    facts: tuple[float, float, float, float]
    left_out: Tensor | None
    """Loss of the examples left out, summed, at each temperature."""
    fresh: Tensor
    """Loss of a fresh query, at each temperature."""


def tables(random: np.random.Generator) -> list[np.ndarray]:
    """Classes of few features: iris or breast cancer."""
    table = load_iris() if random.random() < 0.5 else load_breast_cancer()
    return [scale(table.data)[table.target == c] for c in range(len(table.target_names))]


def normal(random: np.random.Generator) -> list[np.ndarray]:
    """Normal classes of few features."""
    while (of := blobs(random, 20))[0].shape[1] >= LONG:
        pass
    return of


def seen(random: np.random.Generator, name: str) -> list[Seen]:
    """A task of 2 to 20 classes with 1 to 8 examples each."""
    of = {
        "digits": digits,
        "tables": lambda: tables(random),
        "normal": lambda: normal(random),
    }.get(name, lambda: classes_of(name, "first"))()
    shots = int(random.choice([1, 1, 2, 2, 3, 5, 8]))
    ways = int(random.choice([d for d in (2, 3, 5, 10, 15, 20) if d <= len(of) and d * shots <= 100]))
    counts = np.full(ways, shots)
    if shots > 1 and random.random() < 0.3:
        counts = np.maximum(1, random.multinomial(ways * shots - ways, np.full(ways, 1 / ways)) + 1)
    x, y, q, t, _ = task(of, random, counts, max(4, 100 // ways))
    support = il.Examples(torch.from_numpy(x), torch.eye(ways, dtype=torch.float64)[torch.from_numpy(y)])
    queries = torch.from_numpy(q)
    heads = makers(name)
    rows = support.y @ support.y.sum(0) > 1.5
    if len(x) > 30:
        heads.pop("logistic")
    found = []
    for head, make in heads.items():
        made = ready(make())
        with torch.no_grad():
            state = made.adapt(support)
            unit = spread(made, state, support)
            raw = made.predict(state, queries)[0]
        left = None
        if rows.any():
            held = leave_one_out(made, support)[rows]
            left = torch.func.vmap(
                lambda t, held=held, unit=unit, y=support.y[rows]: left_out_loss(held / (unit * t), y)
            )(GRID.exp())
        true = torch.from_numpy(t)
        fresh = (
            (raw / (unit * GRID.exp().view(-1, 1, 1))).log_softmax(2)[:, torch.arange(len(true)), true].mean(1).neg()
        )
        found.append(Seen(name, head, (1.0, float(np.log(ways)), ways / len(x), float(x.shape[1] < LONG)), left, fresh))
    return found


def at(losses: Tensor, where: Tensor) -> Tensor:
    """Losses ``[N, G]`` between the temperatures of the grid."""
    place = ((where - GRID[0]) / (GRID[1] - GRID[0])).clamp(0, len(GRID) - 1.001)
    low = place.floor().long()
    part = place - low
    one, two = (losses.gather(1, (low + i).unsqueeze(1)).squeeze(1) for i in (0, 1))
    return one * (1 - part) + two * part


def fit(tasks: int, seed: int = 5) -> None:
    """Print the constants."""
    torch.set_num_threads(1)
    found = []
    for number, name in enumerate(SOURCES):
        random = np.random.default_rng((seed, number))
        found += [one for _ in range(tasks) for one in seen(random, name)]
    solve(found)


def solve(found: list[Seen]) -> None:
    """By descent, and by trying values."""
    expected = {}
    for head in dict.fromkeys(one.head for one in found):
        some = [one for one in found if one.head == head]
        facts, fresh = (
            torch.tensor([one.facts for one in some], dtype=torch.float64),
            torch.stack([o.fresh for o in some]),
        )
        sources = [one.source for one in some]
        weight = torch.tensor([SOURCES[one] / sources.count(one) for one in sources], dtype=torch.float64)
        start = float(GRID[(weight @ fresh).argmin()])
        values = torch.tensor([start, 0.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
        descent = torch.optim.Adam([values], lr=0.03)
        for _ in range(600):
            descent.zero_grad()
            loss = (weight * at(fresh, facts @ values)).sum() / weight.sum()
            loss.backward()
            descent.step()
        values = values.detach()
        expected[head] = values
        print(f'    "{head}": ({", ".join(f"{v:.2f}" for v in values.tolist())}),')
    some = [one for one in found if one.left_out is not None]
    left, fresh = torch.stack([one.left_out for one in some]), torch.stack([one.fresh for one in some])
    facts = torch.tensor([one.facts for one in some], dtype=torch.float64)
    prior = torch.stack([torch.tensor(one.facts, dtype=torch.float64) @ expected[one.head] for one in some])
    sources = [one.source for one in some]
    weight = torch.tensor([SOURCES[one] / sources.count(one) for one in sources], dtype=torch.float64)
    weight /= weight.sum()
    best = []
    for surer in np.arange(0, 2.01, 0.25):
        # At a temperature t of the whole the examples left out are read at t e^(surer / shots).
        moved = torch.stack([at(left, g + surer * facts[:, 2]) for g in GRID], 1)
        for strength in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 1e6):
            where = GRID[(moved + strength / 2 * (GRID - prior.unsqueeze(1)).square()).argmin(1)]
            best.append((float(weight @ at(fresh, where)), float(surer), strength))
    for loss, surer, strength in sorted(best)[:6] + [one for one in best if one[2] in (0.0, 1e6)][:2]:
        print(f"SURER = {surer}, STRENGTH = {strength}: log loss {loss:.4f}")
