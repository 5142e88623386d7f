"""Several runs in one command: loaded under names of their own, with what their examples look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from innerloop.core.facts import Facts
    from innerloop.core.learner import Learner


class Loaded(NamedTuple):
    """A run that is ready to be judged."""

    name: str
    """Of its folder; the whole path where two folders have one name."""
    path: Path
    learner: Learner
    kind: str
    """The learner's name."""
    facts: Facts | None
    """Of its meta-training tasks, where they are known."""


def loaded(runs: Sequence[Path]) -> list[Loaded]:
    """Runs, and bundles, in evaluation mode.

    Raises:
        InputError: for a folder that is none, or one that is given twice.
    """
    from innerloop import bundle
    from innerloop.core.facts import Facts
    from innerloop.core.task import InputError
    from innerloop.recipes import load, load_run
    from innerloop.recipes.runs import RECIPE_FILE

    found = []
    facts: Facts | None
    names = names_of(runs)
    for number, run in enumerate(runs):
        if run in runs[:number]:
            raise InputError(f"{run} is given twice: give each run once")
        if (run / RECIPE_FILE).exists():
            recipe, beside = load_run(run)
            kind, facts = recipe.learner, Facts.read(beside["facts"])
        else:
            read = bundle.read(run)
            kind, facts = read.name or read.kind, read.facts
        found.append(Loaded(names[number], run, load(run), kind, facts))
    return found


def names_of(runs: Sequence[Path]) -> list[str]:
    """What runs are called: their folders' names, or as much of the path as was given where two have one."""
    short = [run.absolute().name for run in runs]
    return [name if short.count(name) == 1 else str(run) for name, run in zip(short, runs, strict=True)]
