"""Tables that are drawn, not collected: a prior over small tabular tasks for in-context learners.

A draw is a batch of tables of one size; how a table comes about differs from table to table. Five kinds of table share
a batch, each made for all its tables at once:

- **causal**: a random network with noise at every node is a structural causal model; the features and the target are
  nodes of it, so the target may be a cause, an effect or a sibling of a feature;
- **network**: the target is a random network of the features, some of which it ignores;
- **linear**: a sparse linear score of correlated features;
- **trees**: a sum of shallow trees, each of which asks a few features;
- **clusters**: each class is a mixture of Gaussians.

A class target comes from cutting a real one at random quantiles (in order, or with the pieces dealt out at random), or
from the largest of several; a share of labels is then noise. Features are last warped, given heavy tails, rounded or
made into categories.

References: Hollmann et al., *TabPFN*, ICLR 2023, https://arxiv.org/abs/2207.01848, and Nature 637, 2025, appendix: the
causal and network kinds follow their idea; the ranges here are our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.numbers import check_count, ends
from innerloop.core.task import Examples, Task
from innerloop.data.episodes import Sampler

#: Kinds of table and their shares.
KINDS = {"causal": 0.35, "network": 0.2, "linear": 0.15, "trees": 0.15, "clusters": 0.15}


class TablePrior(Sampler):
    """Random tables, classification or regression.

    Sizes (rows, features, classes) are drawn per batch, everything else per table. Unlike the samplers of episodes, a
    larger batch does not begin with the tables of a smaller one. Every class of a table has a training row, unless the
    training rows are fewer; a query's class is one of those.

    Args:
        regression: a real target, standardized by the training rows, in place of classes.
        rows: fewest and most training rows; log-uniform between.
        features: fewest and most features; log-uniform between.
        classes: the most classes.
        queries: test rows a table.
        cells: the most training cells a table (rows times columns, the target's included): bounds the cost of a step.

    Raises:
        InputError: for sizes that leave nothing to learn.

    Example:
        >>> task = TablePrior(queries=7).draw(torch.Generator().manual_seed(0), 4)
        >>> task.query.x.shape[:2], task.support.x.shape[0]
        (torch.Size([4, 7]), 4)
    """

    def __init__(
        self,
        *,
        regression: bool = False,
        rows: tuple[int, int] = (10, 300),
        features: tuple[int, int] = (2, 24),
        classes: int = 10,
        queries: int = 40,
        cells: int = 2000,
    ) -> None:
        rows, features = ends("rows", rows, 1), ends("features", features, 1)
        check_count("classes", classes, 1 if regression else 2)
        check_count("queries", queries, 1)
        check_count("cells", cells, 1)
        self.classifies = not regression
        self.rows, self.features, self.classes, self.queries, self.cells = rows, features, classes, queries, cells

    @property
    def facts(self) -> Facts:
        """What its tables are made of at most: their features and classes vary from draw to draw."""
        if self.classifies:
            return Facts("table", (self.features[1],), self.classes, "classification")
        return Facts("table", (self.features[1],), 1, "regression")

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        r = _Random(generator)
        features = r.size(*self.features)
        most = max(self.rows[0], min(self.rows[1], self.cells // (features + 1)))
        n = r.size(self.rows[0], most)
        # Half of the tables have two classes; many classes need many rows.
        classes = 1
        if self.classifies:
            classes = 2 if r.number() < 0.45 else r.size(2, max(2, min(self.classes, n // 4)))
        shape = (n, self.queries, features, classes)
        kinds = torch.multinomial(torch.tensor(list(KINDS.values())), tasks, True, generator=generator).tolist()
        parts = [_MAKE[kind](r, kinds.count(i), *shape) for i, kind in enumerate(KINDS) if kinds.count(i)]
        x, y = (torch.cat(side) for side in zip(*parts, strict=True))
        order = r.uniform(tasks).argsort()
        x, y = _dressed(r, x[order], n), y[order]
        support, query = (
            Examples(x[:, rows].contiguous(), y[:, rows].contiguous()) for rows in (slice(n), slice(n, None))
        )
        return Task(support, query)

    def batches(self, generator: Generator, tasks: int) -> Iterator[Task]:
        """All tables as one draw, of one size."""
        yield self.draw(generator, tasks)


class _Random:
    """Shorthands for a generator."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def number(self) -> float:
        return float(self.uniform(1))

    def size(self, low: int, high: int) -> int:
        """A log-uniform integer."""
        return min(high, int(low * ((high + 1) / low) ** self.number()))

    def whole(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator)


def _standard(x: Tensor) -> Tensor:
    """Mean 0, deviation 1 over the rows of ``x [T, R, *]``."""
    return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0).clamp(min=1e-6)


_ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda z: z,
    torch.tanh,
    torch.relu,
    lambda z: torch.sin(2 * z),
    torch.abs,
    torch.square,
    lambda z: (z > 0).to(z),
    lambda z: torch.exp(-z.square()),
    lambda z: torch.nn.functional.softplus(3 * z),
)


def _activated(r: _Random, z: Tensor) -> Tensor:
    """Each table has an activation, some tables one for each node. ``z [T, R, H]``."""
    tables, _, nodes = z.shape
    # The first three are gentle: half of the tables use no other.
    few = torch.where(r.uniform(tables, 1) < 0.5, 3, len(_ACTIVATIONS))
    one, each = r.uniform(tables, 1), r.uniform(tables, nodes)
    kind = (few * torch.where(r.uniform(tables, 1) < 0.3, each, one)).long().unsqueeze(1)
    out = z
    for i, activation in enumerate(_ACTIVATIONS[1:], 1):
        out = torch.where(kind == i, activation(z), out)
    return out


def _causes(r: _Random, tables: int, rows: int, count: int) -> Tensor:
    """Independent, or correlated by a few hidden factors; normal, uniform or in clumps. ``[T, R, C]``, standardized."""
    kind = r.whole(3, tables, 1, count)
    normal = r.normal(tables, rows, count)
    clumps = 0.3 * normal + r.normal(tables, 4, count).gather(1, r.whole(4, tables, rows, count))
    x = torch.where(
        kind == 0, normal, torch.where(kind == 1, r.uniform(tables, rows, count, low=-1.7, high=1.7), clumps)
    )
    hidden = max(1, count // 3)
    factors = r.normal(tables, rows, hidden) @ r.normal(tables, hidden, count) / math.sqrt(hidden)
    strength = torch.where(r.uniform(tables, 1, 1) < 0.5, r.uniform(tables, 1, 1), 0.0)
    return _standard((1 - strength) * x + 1.5 * strength * factors)


def _weights(r: _Random, tables: int, inputs: int, outputs: int) -> Tensor:
    """Random connections ``[T, inputs, outputs]``: some inputs matter more, some tables are sparse."""
    kept = torch.where(r.uniform(tables, 1, 1) < 0.6, r.uniform(tables, 1, 1, low=0.1, high=0.7), 1.0)
    weight = r.normal(tables, inputs, outputs) * r.normal(tables, inputs, 1).exp()
    return weight * (r.uniform(tables, inputs, outputs) < kept)


def _layers(r: _Random, x: Tensor, depth: int, width: int) -> list[Tensor]:
    """The nodes of a random network, layer by layer, each with noise of its own."""
    tables, rows, _ = x.shape
    loud = r.log_uniform(tables, 1, 1, low=0.01, high=0.3)
    out = []
    for _ in range(depth):
        z = _standard(x @ _weights(r, tables, x.shape[2], width))
        z = r.log_uniform(tables, 1, width, low=0.5, high=2.0) * (z + 0.6 * r.normal(tables, 1, width))
        noise = loud * r.log_uniform(tables, 1, width, low=0.3, high=3.0) * r.normal(tables, rows, width)
        x = _standard(_activated(r, z)) + noise
        out.append(x)
    return out


def _causal(r: _Random, tables: int, n: int, queries: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    rows, depth = n + queries, r.size(1, 4)
    width = max(math.ceil(1.3 * (features + classes) / depth), r.size(4, 24))
    layers = _layers(r, _causes(r, tables, rows, r.size(2, 8)), depth, width)
    nodes = torch.cat(layers, 2)
    # Targets late in the network, early or anywhere; features anywhere, in some tables from nodes that lie together.
    place = torch.arange(nodes.shape[2]) / nodes.shape[2]
    lean = r.uniform(tables, 1, low=-1.0, high=3.0)
    targets = (lean * place + r.uniform(tables, nodes.shape[2])).argsort(1, descending=True)[:, :classes]
    score = r.uniform(tables, nodes.shape[2])
    center = r.uniform(tables, 1)
    together = torch.where(r.uniform(tables, 1) < 0.3, (place - center).abs() + 0.1 * score, score)
    chosen = together.scatter(1, targets, math.inf).argsort(1)[:, :features]
    pick = lambda index: nodes.gather(2, index.unsqueeze(1).expand(-1, rows, -1))  # noqa: E731
    return pick(chosen), _targets(r, pick(targets), n)


def _network(r: _Random, tables: int, n: int, queries: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    x = _causes(r, tables, n + queries, features)
    used = (r.uniform(tables, 1, features) < r.uniform(tables, 1, 1, low=0.2, high=1.2)).to(x)
    width = max(classes, r.size(4, 32))
    hidden = _layers(r, x * used, r.size(1, 2), width)[-1]
    return x, _targets(r, hidden @ _weights(r, tables, width, classes), n)


def _linear(r: _Random, tables: int, n: int, queries: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    x = _causes(r, tables, n + queries, features)
    return x, _targets(r, x @ _weights(r, tables, features, classes), n)


def _trees(r: _Random, tables: int, n: int, queries: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    """A sum of oblivious trees: at each depth one question, the same for all branches."""
    x = _causes(r, tables, n + queries, features)
    trees, depth = r.size(1, 12), r.size(1, 4)
    liked = r.normal(tables, 1, features).mul(1.5).exp().expand(-1, trees * depth, -1).flatten(0, 1)
    asked = torch.multinomial(liked, 1, generator=r.generator).view(tables, 1, trees * depth)
    value = x.gather(2, asked.expand(-1, n + queries, -1))
    threshold = x.gather(1, r.whole(n + queries, tables, 1, features)).gather(2, asked)
    above = (value > threshold + 0.1 * r.normal(tables, 1, trees * depth)).unflatten(2, (trees, depth)).long()
    leaf = (above * 2 ** torch.arange(depth)).sum(3)
    values = r.normal(tables, trees, 2**depth, classes)
    grid = torch.arange(tables).view(-1, 1, 1), torch.arange(trees).view(1, 1, -1)
    return x, _targets(r, values[grid[0], grid[1], leaf].sum(2), n)


def _clusters(r: _Random, tables: int, n: int, queries: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    rows = n + queries
    each = r.size(1, 3)
    groups = max(2, classes) * each
    odds = (r.normal(tables, groups) * r.uniform(tables, 1)).softmax(1)
    group = torch.multinomial(odds, rows, True, generator=r.generator)
    # Every class has a training row.
    first = min(n, groups)
    group[:, :first] = torch.arange(groups).roll(1)[:first]
    telling = (r.uniform(tables, 1, features) < r.uniform(tables, 1, 1, low=0.2, high=1.2)).to(torch.float32)
    apart = r.log_uniform(tables, 1, 1, low=1.0, high=8.0) / telling.sum(2, keepdim=True).clamp(min=1).sqrt()
    centers = apart * telling * r.normal(tables, groups, features)
    spread = r.log_uniform(tables, groups, features, low=0.5, high=2.0)
    spread = torch.where(r.uniform(tables, 1, 1) < 0.5, spread, spread[:, :1])
    rank = max(1, features // 2)
    mixing = r.normal(tables, rank, features) / math.sqrt(rank) * r.uniform(tables, 1, 1)
    noise = r.normal(tables, rows, features) + 1.5 * r.normal(tables, rows, rank) @ mixing
    at = group.unsqueeze(2).expand(-1, -1, features)
    x = _standard(centers.gather(1, at) + spread.gather(1, at) * noise)
    if classes == 1:
        level = r.normal(tables, groups).gather(1, group).unsqueeze(2)
        return x, _targets(r, level + 0.3 * (x @ r.normal(tables, features, 1)), n)
    return x, _labels(r, group // each, classes, n)


_MAKE = {"causal": _causal, "network": _network, "linear": _linear, "trees": _trees, "clusters": _clusters}


def _targets(r: _Random, scores: Tensor, n: int) -> Tensor:
    """Targets of real scores ``[T, R, D]``: one-hot rows, or for D = 1 the standardized value."""
    tables, rows, classes = scores.shape
    noise = torch.where(r.uniform(tables, 1, 1) < 0.4, r.log_uniform(tables, 1, 1, low=0.03, high=1.5), 0.0)
    scores = _standard(scores)
    scores = _standard(scores + noise * r.normal(tables, rows, classes))
    if classes == 1:
        power = torch.where(r.uniform(tables, 1, 1) < 0.3, r.uniform(tables, 1, 1, low=0.1, high=1.0), 0.0)
        warped = torch.where(power > 0, torch.expm1(power * scores) / power.clamp(min=0.1), scores)
        level, spread = warped[:, :n].mean(1, keepdim=True), warped[:, :n].std(1, keepdim=True, correction=0)
        return ((warped - level) / spread.clamp(min=1e-3)).clamp(-10, 10)
    largest = (scores + 0.4 * r.normal(tables, 1, classes)).argmax(2)
    cut = _cut(r, scores[..., 0], classes, n)
    return _labels(r, torch.where(r.uniform(tables, 1) < 0.5, largest, cut), classes, n)


def _cut(r: _Random, value: Tensor, classes: int, n: int) -> Tensor:
    """Classes ``[T, R]`` by the quantile of a value: in order, or more pieces than classes, dealt out at random."""
    tables = len(value)
    pieces = min(n, classes * (1 if r.number() < 0.7 else r.size(2, 4)))
    share = r.normal(tables, pieces).mul(r.uniform(tables, 1)).softmax(1).cumsum(1)[:, :-1]
    # Strictly increasing places between the sorted training values: no piece is empty.
    places = (share * (n - pieces)).long() + torch.arange(1, pieces)
    ordered = value[:, :n].sort(1).values
    edges = (ordered.gather(1, places) + ordered.gather(1, places - 1)) / 2
    piece = (value.unsqueeze(2) > edges.unsqueeze(1)).sum(2)
    return piece if pieces <= classes else (r.uniform(tables, pieces).argsort(1) % classes).gather(1, piece)


def _labels(r: _Random, label: Tensor, classes: int, n: int) -> Tensor:
    """One-hot rows ``[T, R, D]``: some labels wrong, classes in random order, queries only of classes in training."""
    tables, rows = label.shape
    wrong = torch.where(r.uniform(tables, 1) < 0.2, r.uniform(tables, 1, high=0.2), 0.0)
    label = torch.where(r.uniform(tables, rows) < wrong, r.whole(classes, tables, rows), label)
    names = r.uniform(tables, classes).argsort(1)
    y = torch.nn.functional.one_hot(names.gather(1, label), classes).float()
    seen = y[:, :n].sum(1, keepdim=True) > 0
    replacement = y[:, :n].gather(1, r.whole(n, tables, rows).unsqueeze(2).expand(-1, -1, classes))
    return torch.where((y * seen).sum(2, keepdim=True) > 0, y, replacement)


def _dressed(r: _Random, x: Tensor, n: int) -> Tensor:
    """Features as tables show them: warped, with heavy tails, rounded, or as categories in no order."""
    tables, rows, features = x.shape
    x = _standard(x)
    # A table is plain, or its columns differ.
    plain = r.uniform(tables, 1, 1) < 0.4
    kind = torch.where(plain, 0, r.whole(8, tables, 1, features))
    power = r.uniform(tables, 1, features, low=0.4, high=1.2)
    exponential = torch.exp(power * x.clamp(max=6))
    bent = x.sign() * x.abs() ** (3 * power)
    saturated = torch.tanh(2 * power * x)
    levels = r.whole(9, tables, 1, features) + 2
    width = 4.0 / levels
    code = ((x + 0.5 * r.normal(tables, 1, features)) / width + levels / 2).floor().clamp(min=0).minimum(levels - 1.0)
    # Codes in no order: a fixed shuffle of 0 to 10 for each column.
    shuffled = r.uniform(tables, 11, features).argsort(1).gather(1, code.long()).to(x)
    for i, value in enumerate((exponential, bent, saturated, code, shuffled), 3):
        x = torch.where(kind == i, value, x)
    order = r.uniform(tables, features).argsort(1).unsqueeze(1).expand(-1, rows, -1)
    return _standard(x.gather(2, order)).clamp(-30, 30)
