"""Every public learner has a row in ``cases.py``, so that every law runs over it."""

from __future__ import annotations

import inspect
from collections import Counter

import pytest
from cases import CASES

import innerloop as il
from innerloop import learners, optimizers


def public_learners() -> list[type[il.Learner]]:
    """The classes of learners that ``innerloop.learners`` and ``innerloop.optimizers`` offer, bases apart."""
    offered = (getattr(room, name) for room in (learners, optimizers) for name in room.__all__)
    kinds = (thing for thing in offered if isinstance(thing, type) and issubclass(thing, il.Learner))
    return [kind for kind in kinds if not inspect.isabstract(kind)]


def test_every_public_learner_has_a_row() -> None:
    """A row's learner is of the class itself, or has it inside, as a composite has its head."""
    covered = {type(part) for case in CASES for part in case.make().modules()}
    missing = [kind.__name__ for kind in public_learners() if kind not in covered]
    assert not missing, f"no row in tests/cases.py for {', '.join(missing)}"
    assert len(public_learners()) > 50


def test_every_learner_at_the_root_is_a_public_one() -> None:
    """The root offers no learner that has no room: the list above is complete."""
    at_root = {getattr(il, name) for name in il.__all__}
    learners_at_root = {thing for thing in at_root if isinstance(thing, type) and issubclass(thing, il.Learner)}
    assert learners_at_root - {il.Learner} <= set(public_learners())


def test_rows_have_names_of_their_own() -> None:
    """Pytest would number two rows of one name."""
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


@pytest.mark.parametrize("case", [case for case in CASES if case.untrained], ids=str)
def test_rows_without_training_leave_out_how_to_train(case: object) -> None:
    """What is said of training and of gradients belongs to rows that have them."""
    assert (case.fit, case.exempt, case.alone) == ({}, {}, True)
