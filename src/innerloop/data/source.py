"""Sources: whatever tasks are drawn from, behind one interface.

Pools of classes, tables with a task column, assays of molecules, families of functions and streams have their facts,
make samplers for a split, and say what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

from innerloop.core.facts import Facts
from innerloop.core.options import check_options
from innerloop.core.parts import is_own, own_part, unknown
from innerloop.core.task import InputError
from innerloop.data.episodes import Sampler
from innerloop.data.splits import SPLITS

#: Makes a sampler of a split from sizes and other options by name.
Maker = Callable[..., Sampler]


@dataclass(frozen=True)
class Description:
    """What is in a source.

    Args:
        facts: of its tasks, one way or the other.
        rows: of a table, one a split: counts by name.
        digest: of the content; two sources with the same one hold the same.
        notes: what a reader should know, one sentence each: what was taken for missing, rows left out.
    """

    facts: Facts
    rows: list[dict[str, Any]]
    digest: str
    notes: list[str] = field(default_factory=list)


@runtime_checkable
class Source(Protocol):
    """What tasks are drawn from."""

    @property
    def facts(self) -> Facts:
        """Those of its tasks; sizes that a sampler decides are those of its default one."""

    def makers(self, split: str) -> Mapping[str, Maker]:
        """The kinds of tasks that can be drawn of a split, ``"episodes"`` among them, each with its maker."""

    def part(self, split: str) -> Any:
        """What a sampler of one's own takes first: the split's pool, say."""

    def describe(self) -> Description:
        """What is in it."""


def maker(source: Source, split: str, kind: str = "episodes") -> Maker:
    """What makes a source's samplers of a kind, or one of anybody's own (``package.module:Name``).

    Raises:
        InputError: for an unknown split, or a kind that the source does not have.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown; choose train, val or test")
    if is_own(kind):
        return partial(cast(Maker, own_part(kind, "sampler")), source.part(split))
    makers = source.makers(split)
    if kind not in makers:
        raise unknown("the kind of tasks", kind, makers)
    return makers[kind]


def sampler(source: Source, split: str, kind: str = "episodes", **sizes: Any) -> Sampler:
    """A sampler over one split of a source.

    Args:
        source: pools, a table, molecules, functions, a stream.
        split: ``"train"``, ``"val"`` or ``"test"``.
        kind: of tasks: ``"episodes"``, and what else the source's ``makers(split)`` name (``"batches"``, ``"stream"``,
            ...), or a sampler of one's own by ``package.module:Name``.
        sizes: and other options of that sampler.

    Raises:
        InputError: for an unknown split or kind, an option that the sampler lacks, or sizes that it cannot give.

    Example:
        >>> from innerloop.data.registry import read
        >>> sampler(read("sinusoid"), "test", shots=5).shots
        5
    """
    make = maker(source, split, kind)
    # A plain list is what TOML and JSON have for a pair.
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()}
    check_options(make, values, f"the kind of tasks {kind!r}")
    return make(**values)
