"""Labels of any kind: what they become, and what is refused at each boundary where a person gives them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import innerloop as il
from innerloop.core.labels import labels_of
from innerloop.core.targets import inputs_of, one_hot, targets_of
from innerloop.core.task import Examples, check_examples

pd = pytest.importorskip("pandas")

X = torch.arange(8.0).view(4, 2)
NUMBERS = [3, 1, 3, 7]

SAME: dict[str, Any] = {
    "list": NUMBERS,
    "range of rows": tuple(NUMBERS),
    "generator": (value for value in NUMBERS),
    "tensor": torch.tensor(NUMBERS),
    "column": torch.tensor(NUMBERS).unsqueeze(1),
    "list of columns": [[value] for value in NUMBERS],
    "int32": torch.tensor(NUMBERS, dtype=torch.int32),
    "uint8": torch.tensor(NUMBERS, dtype=torch.uint8),
    "whole floats": torch.tensor(NUMBERS).double(),
    "bfloat16": torch.tensor(NUMBERS).bfloat16(),
    "with a gradient": torch.tensor(NUMBERS).float().requires_grad_(),
    "list of whole floats": [float(value) for value in NUMBERS],
    "ints and whole floats": [3, 1.0, 3, 7.0],
    "numpy": np.array(NUMBERS, dtype=np.uint16),
    "numpy column": np.array(NUMBERS).reshape(-1, 1),
    "numpy objects": np.array(NUMBERS, dtype=object),
    "big endian": np.array(NUMBERS, dtype=">i4"),
    "numpy scalars": list(np.array(NUMBERS)),
    "tensors of one": list(torch.tensor(NUMBERS)),
    "series": pd.Series(NUMBERS, index=[9, 8, 7, 6]),
    "nullable series": pd.Series(NUMBERS, dtype="Int64"),
    "frame of one column": pd.DataFrame({"label": NUMBERS}),
    "categorical": pd.Categorical(NUMBERS),
    "categorical series": pd.Series(NUMBERS, dtype="category"),
}


@pytest.mark.parametrize("kind", SAME)
def test_whole_numbers_are_the_same_labels_however_they_come(kind: str) -> None:
    pool = il.Pool.of(X, SAME[kind]) if kind != "generator" else il.Pool.of(X, iter(NUMBERS))
    assert (pool.names, pool.sizes.tolist()) == (("1", "3", "7"), [1, 2, 1])
    assert torch.equal(pool.x, X[[1, 0, 2, 3]])


@pytest.mark.parametrize(
    ("labels", "names", "index"),
    [
        (["owl", "cat", "owl"], ("cat", "owl"), [1, 0, 1]),
        (np.array(["owl", "cat", "owl"]), ("cat", "owl"), [1, 0, 1]),
        (np.array([b"owl", b"cat", b"owl"]), ("cat", "owl"), [1, 0, 1]),
        (pd.Series(["owl", "cat", "owl"]), ("cat", "owl"), [1, 0, 1]),
        (pd.Series(["owl", "cat", "owl"], dtype="string"), ("cat", "owl"), [1, 0, 1]),
        (pd.Categorical(["b", "s", "b"], categories=["s", "m", "b"], ordered=True), ("s", "b"), [1, 0, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        (torch.tensor([True, True]), ("True",), [0, 0]),
        (pd.Series([True, False], dtype="boolean"), ("False", "True"), [1, 0]),
        (torch.eye(3)[[2, 0, 2]], ("0", "2"), [1, 0, 1]),
        ([[0, 0, 1], [1, 0, 0], [0, 0, 1]], ("0", "2"), [1, 0, 1]),
        (pd.get_dummies(pd.Series(["owl", "cat", "owl"])), ("cat", "owl"), [1, 0, 1]),
        (["10", "9"], ("10", "9"), [0, 1]),
        ([10, 9], ("9", "10"), [1, 0]),
        ([], (), []),
    ],
)
def test_names_and_numbers_of_classes(labels: Any, names: tuple[str, ...], index: list[int]) -> None:
    found = labels_of(labels)
    assert (found.names, found.classes.tolist()) == (names, index)
    assert found.classes.dtype == torch.int64


BAD: dict[str, tuple[Any, str]] = {
    "part of a class": ([0.0, 1.5, 2.0, 0.25], r"row 1 \(1.5\) is no whole number \(and 1 more\)"),
    "NaN": ([0.0, math.nan, 2.0, 1.0], "row 1 is missing"),
    "NaN in a tensor": (torch.tensor([0.0, 1.0, math.nan, math.inf]), r"row 2 is missing or not finite \(and 1 more\)"),
    "None": (["a", None, "b", None], r"row 1 is missing \(and 1 more\)"),
    "missing in a column": (pd.Series(["a", "b", None, "a"]), "row 2 is missing"),
    "missing in a nullable column": (pd.Series([1, 2, None, 1], dtype="Int64"), "row 2 is missing"),
    "missing in a categorical": (pd.Categorical(["a", None, "b", "a"]), "row 1 is missing"),
    "words and numbers": (["a", "b", 3, "c"], "row 0 is str 'a', row 2 is int 3"),
    "booleans and numbers": ([True, 2, 3, False], "several kinds"),
    "ragged": ([[0, 1], [1], [0], [1]], "rows of several lengths"),
    "soft": ([[0.5, 0.5]] * 4, "not one-hot.*argmax"),
    "two ones": (torch.ones(4, 2), "not one-hot"),
    "a matrix of words": ([["a", "b"]] * 4, "not one-hot"),
    "a cube": (torch.zeros(4, 2, 2), r"shape \(4, 2, 2\)"),
    "a scalar": (torch.tensor(3), "shape ()"),
    "a word": ("abcd", "str 'abcd' are no labels"),
    "a number": (4, "int 4 are no labels"),
    "a dictionary": ({0: "a"}, "are no labels"),
    "a set": ({1, 2, 3, 4}, "are no labels"),
    "nothing": (None, "are no labels"),
    "dates": (np.array(["2020-01-01"] * 4, dtype="datetime64[D]"), "type datetime64"),
    "objects": ([object()] * 4, "is no whole number, name or boolean"),
    "complex": (torch.zeros(4, dtype=torch.complex64), "complex"),
    "huge": ([2**70, 1, 2, 3], "beyond 64 bits"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(
    "boundary", [lambda y: il.Pool.of(X, y), lambda y: one_hot(y, 3), lambda y: il.examples(X, y, ways=3)]
)
def test_what_is_no_label_is_refused_at_every_boundary(kind: str, boundary: Callable[[Any], object]) -> None:
    labels, message = BAD[kind]
    if kind == "a scalar" and isinstance(labels, Tensor):
        labels = labels.float()
    with pytest.raises(il.InputError, match=message):
        boundary(labels)


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1))
def test_labels_are_found_again(values: list[int]) -> None:
    classes, names = labels_of(values)
    assert [int(names[c]) for c in classes.tolist()] == values
    assert list(names) == [str(v) for v in sorted(set(values))]


@pytest.mark.parametrize(
    ("y", "ways", "columns", "width"),
    [
        ([2, 0], 4, [2, 0], 4),
        ([2.0, 0.0], 4, [2, 0], 4),
        ([True, True], 2, [1, 1], 2),
        (["owl", "cat"], 2, [1, 0], 2),
        (["owl", "cat"], ("cat", "dog", "owl"), [2, 0], 3),
        ([7, 3], (7, 3), [0, 1], 2),
        (torch.eye(3)[[2, 1]], 3, [2, 1], 3),
        (np.eye(3, dtype=int)[[2, 1]], None, [2, 1], 3),
        ([5, 3, 5], None, [1, 0, 1], 2),
        (pd.Categorical(["b"], categories=["a", "b", "c"]), None, [1], 3),
        (pd.Categorical(["b"], categories=["a", "b", "c"]), 3, [1], 3),
    ],
)
def test_rows_of_labels(y: Any, ways: Any, columns: list[int], width: int) -> None:
    rows = targets_of(y, ways)
    assert torch.equal(rows, torch.eye(width)[columns])


@pytest.mark.parametrize(
    ("y", "ways", "message"),
    [
        ([0, 3], 3, "run from 0 to 3, but 3 ways allow 0 to 2"),
        (["a", "b"], 3, "of 2 classes .a, b., not 3: give the names"),
        (["cta"], ("cat", "dog"), r"'cta' is none of the ways \(cat, dog\) \(did you mean cat"),
        (["a"], ("a", "a"), "name a class twice"),
        (torch.eye(3), 4, "one-hot rows have 3 columns, the ways are 4"),
        ([0, 1], 0, "at least 1"),
        ([0, 1], (), "at least 1"),
        (torch.tensor([[1, 2], [3, 4]]), None, "not one-hot"),
        (torch.zeros(2, 2, 2), None, r"real targets have shape \(2, 2, 2\)"),
        ([0.5, math.nan], None, "row 1 is missing"),
    ],
)
def test_rows_that_cannot_be_made_are_refused(y: Any, ways: Any, message: str) -> None:
    with pytest.raises(il.InputError, match=message):
        targets_of(y, ways)


@pytest.mark.parametrize("y", [[1.5, 2.0], np.array([1.5, 2.0]), torch.tensor([1.5, 2.0]), pd.Series([1.5, 2.0])])
def test_floats_without_ways_are_real_targets(y: Any) -> None:
    part = il.examples(torch.zeros(2, 3), y)
    assert torch.equal(part.y, torch.tensor([[1.5], [2.0]]))


def test_examples_follow_the_inputs(device: torch.device) -> None:
    """Rows of the inputs' type and on their device; bytes become shares, as in a pool."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        part = il.examples(torch.zeros(2, 3, dtype=dtype, device=device), [0, 1], ways=2)
        assert part.y.dtype == part.x.dtype == dtype
        assert part.y.device == part.x.device
    bytes_ = il.examples(torch.full((2, 1, 4, 4), 51, dtype=torch.uint8), [0, 1])
    torch.testing.assert_close(bytes_.x, torch.full((2, 1, 4, 4), 0.2))
    frame = il.examples(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}), pd.Series(["x", "y"]))
    assert (tuple(frame.x.shape), tuple(frame.y.shape)) == ((2, 2), (2, 2))


def test_adapting_by_hand_is_adapting_to_rows() -> None:
    """Words and numbers through the helper, the same state as from rows that are written out."""
    learner = il.ProtoNet(il.nets.mlp(2, 8, 4))
    by_hand = learner.adapt(il.Examples(X, torch.eye(3)[[2, 0, 2, 1]]))
    for y, ways in ((["owl", "cat", "owl", "dog"], 3), (np.array([2, 0, 2, 1]), 3)):
        state = learner.adapt(il.examples(X, y, ways=ways))
        assert torch.equal(learner.predict(state, X), learner.predict(by_hand, X))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1.0, 2.0], r"\[N, F\]"),
        ([[1.0], [2.0, 3.0]], "no array of numbers"),
        ([["a", "b"]], "no array of numbers"),
        (torch.zeros(2, 2, dtype=torch.complex64), "complex"),
    ],
)
def test_inputs_that_are_none_are_refused(x: Any, message: str) -> None:
    with pytest.raises(il.InputError, match=message):
        inputs_of(x)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, torch.tensor([0, 1, 2, 3]), r"targets torch.int64 \(4,\).*il.examples"),
        (X, torch.tensor([[0], [1], [2], [3]]), "targets torch.int64"),
        (X, torch.zeros(4), "must be float rows"),
        (X, torch.zeros(1, 2), "with the same N"),
        (X, torch.zeros(4, 2, 1), "must be float rows"),
        (X[0], torch.zeros(2, 2), "with the same N"),
        (X, torch.full((4, 2), math.nan), "4 of 4 rows of the support set's y"),
        (X.log() * 0, torch.zeros(4, 2), "1 of 4 rows of the support set's x"),
        (X, torch.zeros(4, 3), "3 columns where 2 are expected"),
    ],
)
def test_examples_that_would_broadcast_are_refused(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(il.InputError, match=message):
        check_examples(Examples(x, y), targets=2)


def test_the_check_of_examples_passes_under_transforms() -> None:
    """Shapes are checked there too; values cannot be looked at."""

    def summed(x: Tensor, y: Tensor) -> Tensor:
        check_examples(Examples(x, y))
        return x.sum() + y.sum()

    x, y = torch.rand(5, 4, 2), torch.rand(5, 4, 3)
    torch.testing.assert_close(torch.func.vmap(summed)(x, y), x.sum((1, 2)) + y.sum((1, 2)))
    assert torch.func.grad(summed)(x[0], y[0]).shape == (4, 2)
    with pytest.raises(il.InputError, match="with the same N"):
        torch.func.vmap(summed)(x, y[:, :3])
