"""Pools for meta-training, validation and meta-testing, as a source of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from innerloop.core.facts import Facts, Kind
from innerloop.core.task import InputError
from innerloop.data.class_stream import ClassStream
from innerloop.data.completion import Completion
from innerloop.data.digest import digest_of
from innerloop.data.episodes import Batches, FewShot
from innerloop.data.known import KnownTasks
from innerloop.data.pool import Pool
from innerloop.data.source import Description, Maker
from innerloop.data.unlabeled import Turned, Views


@dataclass(frozen=True, eq=False)
class Pools:
    """Disjoint pools for meta-training, validation and meta-testing.

    Raises:
        InputError: if a class stands in two of them, or their examples differ in shape.
    """

    train: Pool
    val: Pool
    test: Pool
    name: str = "data"

    def __post_init__(self) -> None:
        """Check that no class leaks between the splits."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
            both = sorted(set(parts[a].names) & set(parts[b].names))
            if both:
                raise InputError(
                    f"{len(both)} classes stand in both {a} and {b} (the first is {both[0]!r}): "
                    f"the splits must be disjoint, take them out of one"
                )
        shapes = {name: pool.shape for name, pool in parts.items()}
        if len(set(shapes.values())) != 1:
            raise InputError(f"the splits' examples differ in shape ({shapes}): resize them to one shape")

    @property
    def facts(self) -> Facts:
        """Of the meta-training classes."""
        kind: Kind = "images" if len(self.train.shape) == 3 else "vectors"
        return Facts(kind, self.train.shape, self.train.classes, "classification")

    def makers(self, split: str) -> Mapping[str, Maker]:
        """Few-shot episodes, plain batches, images without labels, streams of classes, known tasks, completion."""
        kinds: dict[str, Maker] = {
            "episodes": FewShot,
            "batches": Batches,
            "turned": Turned,
            "views": Views,
            "stream": ClassStream,
            "known": _known,
            "completion": Completion,
        }
        return {kind: partial(make, self.part(split)) for kind, make in kinds.items()}

    def part(self, split: str) -> Pool:
        """The pool of a split."""
        pool: Pool = getattr(self, split)
        return pool

    def describe(self) -> Description:
        """Classes and examples of each split."""
        rows = [
            {
                "split": split,
                "classes": pool.classes,
                "examples": pool.examples,
                "per class": f"{int(pool.sizes.min())} to {int(pool.sizes.max())}" if pool.classes else "none",
                "shape": "x".join(map(str, pool.shape)),
            }
            for split, pool in (("train", self.train), ("val", self.val), ("test", self.test))
        ]
        return Description(self.facts, rows, self.digest)

    @cached_property
    def digest(self) -> str:
        """Of the content of all three."""
        return digest_of(self.train, self.val, self.test)


def _known(
    pool: Pool, *, ways: int = 5, shots: int = 10, queries: int = 10, known: int = 100, batch: int = 10, seed: int = 0
) -> KnownTasks:
    """As many episodes as ``known`` says, drawn once and then known by their names, ``batch`` queries a draw."""
    drawn = FewShot(pool, ways=ways, shots=shots, queries=queries)
    return KnownTasks.of(drawn, known, seed=seed, queries=batch, named=True)
