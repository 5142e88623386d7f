"""Tasks of one-shot learning as people were given them: letters of one alphabet, drawn by one person and by another.

Lake, Salakhutdinov, Tenenbaum, *Human-level concept learning through probabilistic program induction*, Science 2015,
https://doi.org/10.1126/science.aab3050.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from innerloop.core.numbers import check_count
from innerloop.core.options import check_options
from innerloop.core.random import seeded
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.augment import Augment
from innerloop.data.episodes import Episodes, FewShot, augmented
from innerloop.data.fixed import Fixed
from innerloop.data.pool import Pool


class TwoDrawers(FewShot):
    """Few-shot tasks whose classes share a group, and whose support and query examples have different drawers.

    Example i of every class of a group is by the same drawer, as in Omniglot: the support examples of all classes of a
    group are by the same drawers, and the queries by others. So nothing but the shape tells the classes apart, and what
    the style of a drawer adds is the same for all.

    Args:
        pool: classes named ``GROUP/CLASS``, or ``GROUP/CLASS/CHANGE`` for what was turned or mirrored: this is a group
            of its own. All classes of a group have as many examples.
        ways: classes a task.
        shots: support examples a class, each by another drawer.
        queries: query examples a class, each by another drawer again.
        groups: how many groups a task's classes come from, of each as many: more than one makes a task that has the
            hard classes of a group and many others beside them.
        augment: random change of each image, of support and query alike.
        together: amounts of :class:`innerloop.data.Augment`: one random change for all images of a group in a task,
            before that of each. It makes another alphabet, whose letters are as hard to tell apart.

    Raises:
        InputError: for classes without a group, ways that the groups do not divide, too few groups with so many
            classes, or a class with fewer examples than ``shots + queries``, or another number than its group has.

    Example:
        >>> names = [f"{alphabet}/{letter}" for alphabet in ("greek", "runes") for letter in "abcd"]
        >>> pool = Pool(torch.arange(24.0).view(24, 1), torch.full((8,), 3), tuple(names))
        >>> task = TwoDrawers(pool, ways=2).draw(torch.Generator().manual_seed(0), 1)
        >>> support, query = task.support.x.flatten(), task.query.x.flatten()
        >>> bool(support[0] % 3 == support[1] % 3), bool(support[0] % 3 == query[0] % 3)
        (True, False)

    References:
        Lake, Salakhutdinov, Tenenbaum, *Human-level concept learning through probabilistic program induction*, Science
        2015, https://doi.org/10.1126/science.aab3050.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        ways: int = 20,
        shots: int = 1,
        queries: int = 1,
        groups: int = 1,
        augment: Augment | None = None,
        together: dict[str, float | bool] | None = None,
    ) -> None:
        super().__init__(pool, ways=ways, shots=shots, queries=queries, augment=augment)
        check_options(Augment, together or {}, "together")
        self.together = Augment(**together) if together else None  # type: ignore[arg-type]
        check_count("groups", groups, 1)
        if ways % groups:
            raise InputError(f"{ways} ways are not divided by {groups} groups: give a multiple of the groups")
        self.groups = groups
        self._usable = [places for places in alphabets(pool).values() if len(places) >= ways // groups]
        if len(self._usable) < groups:
            raise InputError(
                f"{len(self._usable)} groups have {ways // groups} classes, {groups} are needed: lower the ways, or "
                f"take classes of more groups"
            )
        for places in self._usable:
            if len(sizes := pool.sizes[places].unique()) > 1:
                raise InputError(
                    f"classes of the group of {pool.names[int(places[0])]} have {int(sizes[0])} to {int(sizes[-1])} "
                    f"examples: example i must be by the same drawer in each, so give all as many"
                )

    @property
    def numbers(self) -> tuple[int, int]:  # noqa: D102
        return len(self._usable) + self.pool.classes, self.groups * int(self.pool.sizes.max())

    @property
    def changes(self) -> tuple[int, ...]:
        """And how many change a task's groups."""
        return *super().changes, self.groups * (self.together.size if self.together else 0)

    def changed(self, task: Task, changes: Sequence[Tensor]) -> Task:  # noqa: D102
        *each, alike = changes
        return super().changed(Task(*(self._alike(part, alike) for part in task)), each)

    def _alike(self, part: Examples, u: Tensor) -> Examples:
        """The images of each group changed by the same numbers: the classes of a group stand side by side."""
        if self.together is None:
            return part
        shape = (len(u), part.x.shape[1] // self.ways, self.groups, self.ways // self.groups, self.together.size)
        return augmented(part, self.together, u.view(len(u), 1, self.groups, 1, -1).expand(shape))

    def choose(self, by_class: Tensor, by_example: Tensor) -> Episodes:
        """Episodes from uniform numbers for each group and class, and for each drawer of a task's groups."""
        by_group, by_class = by_class.split((len(self._usable), self.pool.classes), 1)
        # The largest u^(1/w) of all is that of a group with a probability in proportion to its weight w.
        weights = torch.tensor([len(places) for places in self._usable])
        chosen = by_group.pow(1 / weights).topk(self.groups, 1).indices
        drawers = by_example.view(len(chosen), self.groups, -1)
        rows = [self._task(*parts) for parts in zip(chosen.tolist(), by_class, drawers, strict=True)]
        return Episodes(*(torch.stack(part) for part in zip(*rows, strict=True)))

    def _task(self, chosen: list[int], by_class: Tensor, by_drawer: Tensor) -> Episodes:
        classes, drawers = [], []
        each = self.ways // self.groups
        for group, numbers in zip(chosen, by_drawer, strict=True):
            places = self._usable[group]
            classes.append(places[by_class[places].topk(each).indices])
            known = numbers[: int(self.pool.sizes[places[0]])]
            drawers.append(known.topk(self.shots + self.queries).indices.expand(each, -1))
        ways = torch.cat(classes)
        rows = (self.pool.starts[ways].unsqueeze(1) + torch.cat(drawers)).mT
        return Episodes(ways, rows[: self.shots].flatten(), rows[self.shots :].flatten())


def alphabets(pool: Pool) -> dict[str, Tensor]:
    """The groups of a pool's classes: the places of the classes of each, int64.

    Args:
        pool: classes named ``GROUP/CLASS``, or ``GROUP/CLASS/CHANGE`` for what was turned or mirrored.

    Raises:
        InputError: for a class whose name has no group.

    Example:
        >>> pool = Pool(torch.zeros(4, 1), torch.ones(4, dtype=torch.int64), ("a/1", "a/2", "b/1", "a/1/rot090"))
        >>> {name: places.tolist() for name, places in alphabets(pool).items()}
        {'a': [0, 1], 'b': [2], 'a/rot090': [3]}
    """
    found: dict[str, list[int]] = {}
    for place, name in enumerate(pool.names):
        group, *rest = name.split("/")
        if not rest:
            raise InputError(f"class {name!r} names no group: call it GROUP/CLASS, as greek/alpha")
        found.setdefault("/".join((group, *rest[1:])), []).append(place)
    return {name: torch.tensor(places) for name, places in found.items()}


def trials(pool: Pool, *, ways: int = 20, groups: int = 10, runs: int = 2, seed: int = 0) -> Fixed:
    """The runs of Lake et al. (2015), by a draw of one's own: ``groups * runs`` tasks of ``ways`` trials each.

    Each run is one image of each of so many characters of an alphabet by one drawer, and one of each by another; no
    drawer of an alphabet is in two runs. With the defaults they are 20 runs of 20 trials: 400, as in the paper.

    Args:
        pool: classes named ``GROUP/CLASS``, all of a group with as many examples.
        ways: characters a run.
        groups: alphabets that are drawn, of those with so many characters.
        runs: of each alphabet.
        seed: of the draw.

    Raises:
        InputError: for too few alphabets with so many characters, or too few drawers.

    Example:
        >>> names = [f"{alphabet}/{letter}" for alphabet in ("greek", "runes") for letter in "abcd"]
        >>> pool = Pool(torch.arange(32.0).view(32, 1), torch.full((8,), 4), tuple(names))
        >>> trials(pool, ways=3, groups=2, runs=2).given.support % 4
        tensor([[3, 3, 3],
                [2, 2, 2],
                [1, 1, 1],
                [2, 2, 2]])
    """
    checked = TwoDrawers(pool, ways=ways, queries=2 * runs - 1)
    generator = seeded(seed)
    usable = checked._usable
    if len(usable) < groups:
        raise InputError(f"{len(usable)} groups have {ways} classes, {groups} are asked for: lower the groups or ways")
    drawn = []
    for group in torch.randperm(len(usable), generator=generator)[:groups].tolist():
        places = usable[group]
        drawers = torch.randperm(int(pool.sizes[places[0]]), generator=generator)
        for one, other in drawers[: 2 * runs].view(runs, 2).tolist():
            classes = places[torch.randperm(len(places), generator=generator)[:ways]]
            starts = pool.starts[classes]
            drawn.append(Episodes(classes, starts + one, starts + other))
    return Fixed(checked.pool, Episodes(*(torch.stack(part) for part in zip(*drawn, strict=True))))
