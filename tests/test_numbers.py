"""Numbers that a user gives: what is none, and what lies outside its limits, is refused where it is given."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, Case
from hypothesis import given
from hypothesis import strategies as st

import innerloop as il
from innerloop import acting, optimizers
from innerloop.core.construction import construction
from innerloop.core.numbers import check_number
from innerloop.core.options import keywords
from innerloop.data.shares import Shares
from innerloop.learners.tempered import Tempered

BLOBS = il.Pool.of(torch.rand(40, 4), [i % 10 for i in range(40)])
#: Samplers, data and functions, each with arguments that it takes.
MADE: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (il.FewShot, {"pool": BLOBS, "ways": 3, "shots": 1, "queries": 2}),
    (il.data.Batches, {"pool": BLOBS, "size": 4}),
    (il.data.ClassStream, {"pool": BLOBS, "ways": 3, "shots": 1, "queries": 1}),
    (il.data.Sinusoid, {}),
    (il.data.GaussianProcess, {}),
    (il.data.Sawtooth, {}),
    (il.data.TablePrior, {}),
    (il.data.Augment, {}),
    (Shares, {}),
    (il.lift, {"learner": il.ProtoNet(il.nets.mlp(4, 3))}),
    (il.nets.conv4, {}),
    (il.nets.resnet12, {}),
    (il.nets.Decoder, {"inputs": 3, "shape": (1, 8, 8)}),
    (acting.RL2, {"arms": 2, "pulls": 2}),
    (acting.GaussianPolicy, {}),
    (acting.Greedy, {}),
    (acting.UCB1, {}),
    (acting.finite_indices, {"pulls": 2}),
    (acting.discounted_indices, {"discount": 0.9, "pulls": 2}),
    (acting.bayes_value, {"arms": 2, "pulls": 2}),
    (optimizers.MLPRule, {}),
    (optimizers.LSTMRule, {}),
    (optimizers.Quadratics, {}),
    (optimizers.Teachers, {}),
    (optimizers.Digits, {"split": "train"}),
]


def network() -> torch.nn.Sequential:
    return il.nets.mlp(4, 8, 3)


def numbers(function: Callable[..., Any]) -> Iterator[tuple[str, list[Any]]]:
    """The arguments of a function that are numbers by their annotation, and what is none in their place."""
    for name, parameter in keywords(function).items():
        if parameter.annotation in (int, int | None):
            yield name, ["a", math.nan, 2.5]
        elif parameter.annotation in (float, float | None):
            yield name, ["a", math.nan]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_word_is_no_number(case: Case) -> None:
    """In place of any number that the learner, its networks, heads and rules are built with."""
    for module in case.make().modules():
        if built := construction(module):
            call = inspect.signature(built.make).bind(*built.args, **built.kwargs)
            for name, wrong in numbers(built.make):
                if "inner" in call.arguments and name in ("lr", "head_lr"):
                    continue  # It is ignored beside an inner optimizer.
                for value in wrong:
                    given = inspect.BoundArguments(call.signature, call.arguments | {name: value})  # type: ignore[arg-type]
                    with pytest.raises(il.InputError, match=rf"{re.escape(repr(value))}.*(must be|give)|default head"):
                        built.make(*given.args, **given.kwargs)


@pytest.mark.parametrize(("make", "options"), MADE, ids=[make.__name__ for make, _ in MADE])
def test_a_word_is_no_number_of_a_sampler(make: Callable[..., Any], options: dict[str, Any]) -> None:
    make(**options)
    found = list(numbers(make))
    assert found
    for name, wrong in found:
        for value in wrong:
            with pytest.raises(il.InputError, match=rf"{re.escape(repr(value))}.*(must be|choose)"):
                make(**{**options, name: value})


def test_numbers_of_numpy_and_pytorch_are_numbers() -> None:
    """And whole ones are numbers where any number is one."""
    maml = il.MAML(network(), steps=np.int64(2), lr=np.float32(0.5))
    assert (maml.steps, float(maml.inner.lr)) == (2, 0.5)
    assert float(il.inner.SGD(lr=torch.tensor(0.5)).lr) == 0.5
    assert il.inner.SGD(lr=1).lr == 1


@pytest.mark.parametrize("value", [2.5, "3", True, np.float32(2)])
@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("steps", lambda value: il.MAML(network(), steps=value)),
        ("test_steps", lambda value: il.ANIL(network(), test_steps=value)),
        ("steps", lambda value: il.MAMLPlusPlus(network(), steps=value)),
        ("cg_steps", lambda value: il.learners.IMAML(network(), cg_steps=value)),
        ("tasks", lambda value: il.evaluate(il.ProtoNet(network()), il.data.Sinusoid(), tasks=value)),
        ("chunk", lambda value: il.lift(il.ProtoNet(network()), "chunk", chunk=value)),
        ("shots", lambda value: il.data.Sinusoid(shots=value)),
        ("draws", lambda value: il.Versa(network(), features=3, draws=value)),
    ],
)
def test_a_number_of_things_is_a_whole_number(name: str, use: Callable[[Any], object], value: Any) -> None:
    """It would otherwise fail in the middle of the work, or count as 1."""
    with pytest.raises(il.InputError, match=re.escape(f"{name} is {value!r}; it must be a whole number")):
        use(value)


@pytest.mark.parametrize(
    ("name", "limits", "use"),
    [
        ("label smoothing", "at least 0 and below 1", lambda value: il.Categorical(smoothing=value)),
        ("the inner optimizer's momentum", "at least 0 and finite", lambda value: il.inner.SGD(lr=0.1, momentum=value)),
        (
            "proximal, which holds the inner loop,",
            "above 0 and finite",
            lambda value: il.learners.IMAML(network(), proximal=value),
        ),
        ("the temperature", "above 0 and finite", lambda value: Tempered(il.ProtoNet(network()), value)),
        ("the penalty of the ridge", "above 0 and finite", lambda value: il.learners.Ridge(penalty=value)),
        ("the shrinkage", "above 0 and at most 1", lambda value: il.learners.GaussianClasses(shrinkage=value)),
        ("within", "above 0 and at most 1", lambda value: il.learners.MER(network(), within=value)),
        ("body_from", "at least 0 and at most 1", lambda value: il.MAML(network(), body_from=value)),
        ("augmentation shear", "at least 0 and finite", lambda value: il.data.Augment(shear=value)),
        ("the share of classes", "above 0 and at most 1", lambda value: Shares(classes=value)),
        ("the dropout of conv4", "at least 0 and below 1", lambda value: il.nets.conv4(dropout=value)),
        (
            "clip",
            "above 0",
            lambda value: acting.train(
                acting.RL2(arms=2, pulls=2), lambda *_: torch.zeros(()), updates=1, lr=1.0, clip=value
            ),
        ),
    ],
)
def test_a_number_lies_within_its_limits(name: str, limits: str, use: Callable[[Any], object]) -> None:
    for value in (-1.0, math.nan):
        with pytest.raises(il.InputError, match=re.escape(f"{name} is {value!r}; it must be {limits}")):
            use(value)
    for value in ("0.5", True, torch.ones(2)):
        with pytest.raises(il.InputError, match=re.escape(f" is {value!r}; it must be a number")):
            use(value)


@given(
    value=st.floats() | st.integers(-(10**9), 10**9) | st.sampled_from([0, 1, 0.0, -0.0, 1.0]),
    lower=st.sampled_from("[("),
    upper=st.sampled_from("])"),
    high=st.sampled_from([1.0, math.inf]),
    kind=st.sampled_from([lambda value: value, np.float64, lambda value: torch.tensor(value, dtype=torch.float64)]),
)
def test_intervals_are_those_of_mathematics(
    value: float, lower: str, upper: str, high: float, kind: Callable[[float], Any]
) -> None:
    inside = (value > 0 or (lower == "[" and value == 0)) and (value < high or (upper == "]" and value == high))
    try:
        check_number("the value", kind(value), f"{lower}0, {high}{upper}")
    except il.InputError:
        assert not inside
    else:
        assert inside


def test_a_whole_number_beyond_all_floats_is_not_finite() -> None:
    with pytest.raises(il.InputError, match="it must be above 0 and finite"):
        check_number("lr", 10**400, "(0, inf)")
