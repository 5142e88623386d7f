"""A share of the meta-training classes and of their examples: how much a learner needs is seen by giving it less."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import InputError
from innerloop.data.mapped import MappedPool
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.data.source import Source

_TURNED = re.compile(r"(/mirror)?(/rot\d{3})?$")


@dataclass(frozen=True)
class Shares:
    """How much of the meta-training data is used: a share of the classes, and of the examples of each.

    Smaller shares are parts of larger ones of the same seed, so that more data are the same data and some more. A class
    and its quarter turns go together, with the same drawings. Validation and test stay whole.

    Args:
        classes: share of the classes, above 0 and at most 1.
        examples: share of each class's examples, above 0 and at most 1.
        seed: of the choice.

    Raises:
        InputError: for a share out of range.

    Example:
        >>> pool = Pool.of(torch.zeros(80, 1, 4, 4, dtype=torch.uint8), [i % 8 for i in range(80)])
        >>> part = Shares(classes=0.5, examples=0.2).of_pool(pool)
        >>> part.classes, part.sizes.tolist()
        (4, [2, 2, 2, 2])
    """

    classes: float = 1.0
    examples: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the shares."""
        for name, value in (("classes", self.classes), ("examples", self.examples)):
            check_number(f"the share of {name}", value, "(0, 1]")
        check_count("the seed of the shares", self.seed, 0)
        if self.seed >= 2**63:
            raise InputError(f"the seed of the shares is {self.seed}; it must lie in 0 to {2**63 - 1}")

    def of(self, source: Source) -> Source:
        """The source with so much of its meta-training data.

        Raises:
            InputError: if it has no pools of classes.
        """
        if self.classes == self.examples == 1:
            return source
        if not isinstance(source, Pools):
            raise InputError(
                f"{type(source).__name__} holds no pools of classes, and shares are of classes and their examples: "
                f"leave share out"
            )
        return replace(source, train=self.of_pool(source.train))

    def of_pool(self, pool: Pool) -> Pool:
        """So much of a pool, its classes in the order that they had; each share leaves at least one."""
        groups: dict[str, list[str]] = {}
        for name in pool.names:
            groups.setdefault(_TURNED.sub("", name), []).append(name)
        together = list(groups)
        order = torch.randperm(len(together), generator=Generator().manual_seed(self.seed))
        kept = {together[i] for i in order[: _part(len(together), self.classes)].tolist()}
        pool = pool.only([name for name in pool.names if _TURNED.sub("", name) in kept])
        return pool if self.examples == 1 else self._fewer(pool)

    def _fewer(self, pool: Pool) -> Pool:
        """The same classes with fewer examples each."""
        if isinstance(pool, MappedPool):
            raise InputError(
                "the examples of a mapped pool lie in a file, class after class: take a share of its classes, or write "
                "a smaller pool with data.write_pool"
            )
        chosen: list[Tensor] = []
        for name, start, size in zip(pool.names, pool.starts.tolist(), pool.sizes.tolist(), strict=True):
            # By name: the examples of a class do not depend on which other classes are there.
            word = hashlib.sha256(f"{self.seed} {_TURNED.sub('', name)}".encode()).digest()
            order = torch.randperm(size, generator=Generator().manual_seed(int.from_bytes(word[:7], "big")))
            chosen.append(start + order[: _part(size, self.examples)].sort().values)
        sizes = torch.tensor([len(rows) for rows in chosen], dtype=torch.int64)
        return Pool(pool.x[torch.cat(chosen)], sizes, pool.names)


def _part(total: int, share: float) -> int:
    return max(1, round(total * share))
