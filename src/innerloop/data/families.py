"""Families of functions as a source: tasks that are drawn, not collected, the same in every split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from innerloop.core.facts import Facts
from innerloop.data.digest import digest_of
from innerloop.data.episodes import Sampler
from innerloop.data.known import KnownTasks
from innerloop.data.source import Description, Maker


@dataclass(frozen=True)
class Functions:
    """A family of functions.

    Args:
        make: a sampler, from sizes and other options by name; all have defaults.
        name: of the family.

    Example:
        >>> from innerloop.data.functions import Sinusoid
        >>> Functions(Sinusoid, "sinusoid").facts.kinds
        ('regression', 'functions')
    """

    make: Callable[..., Sampler]
    name: str = "functions"

    @property
    def facts(self) -> Facts:
        """Of its tasks."""
        return self.make().facts

    def makers(self, split: str) -> Mapping[str, Maker]:
        """Few-shot tasks, and known ones."""
        return {"episodes": self.make, "known": partial(_known, self)}

    def part(self, split: str) -> Functions:
        """The family."""
        return self

    def describe(self) -> Description:
        """There is nothing to count."""
        facts = self.facts
        row = {"split": "all", "tasks": "drawn", "inputs": facts.shape[-1], "targets": facts.targets}
        return Description(facts, [row], digest_of(self.name))


def _known(
    family: Functions, *, shots: int = 10, queries: int = 10, known: int = 100, batch: int = 10, seed: int = 0
) -> KnownTasks:
    """As many tasks as ``known`` says, drawn once and then known by their names, ``batch`` queries a draw."""
    drawn = family.make(shots=shots, queries=queries)
    return KnownTasks.of(drawn, known, seed=seed, queries=batch, named=True)
